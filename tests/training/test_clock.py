"""Trainings with a limited time, on machines whose clock the tests turn."""

import json
import shutil
from itertools import count
from pathlib import Path

import pytest

from aurelius.config.recipe import Recipe
from aurelius.errors import Interrupted, RunError
from aurelius.model.checkpoint_folder import list_checkpoints, read_state
from aurelius.training import loop
from aurelius.training.clock import Clock
from aurelius.training.loop import train
from aurelius.training.metrics import read_metrics
from aurelius.training.schedule import Schedule
from tests.conftest import Alarm


def simulate(seconds: float, pace: "list[float]", decay: float = 0.4) -> tuple[float, Schedule]:
    """Train on a machine that takes ``pace[n]`` seconds in the nth tenth; return when it ends."""
    settings = Recipe.load("nano", {"training.steps": 1000}).training.model_copy(update={"decay": decay})
    schedule = Schedule(settings, timed=True)
    clock, now, done = Clock(seconds, schedule), 0.0, 0
    while schedule.end is None or done < schedule.end:
        now, done = now + pace[min(int(10 * now / seconds), 9)], done + 1
        if done != schedule.end:
            clock.decide(done, now)
    return now, schedule


@pytest.mark.parametrize("step", [0.001, 0.05, 0.4])
@pytest.mark.parametrize("decay", [0.0, 0.4, 1.0])
def test_a_steady_machine_ends_on_time(step: float, decay: float):
    ended, schedule = simulate(100, [step] * 10, decay)
    assert abs(ended - 100) < 1 and len(schedule.decays) == 1
    start, end = schedule.decays[0].start, schedule.end
    assert end and 1 - start / end == pytest.approx(max(decay, 0.02), abs=0.02)


def test_a_machine_that_gets_slower_or_faster_ends_on_time():
    for pace in ([0.05] * 7 + [0.15] * 3, [0.05] * 3 + [0.2] * 7, [0.1] * 7 + [0.03] * 3, [0.05, 0.1] * 5):
        ended, schedule = simulate(100, pace)
        assert abs(ended - 100) < 5, pace
        rates = [schedule.share(step) for step in range(schedule.end or 0)]
        assert rates[-1] < 0.05 and min(rates) > 0


def test_a_machine_that_nearly_stops_at_the_end_is_late_by_a_step():
    ended, _ = simulate(100, [0.05] * 9 + [3.0])
    assert 100 <= ended < 107


@pytest.fixture
def tokens(tiny_run: Path) -> Path:
    return tiny_run / "tokens"


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock of the training loop tick 0.1 s each time it is read."""
    clock = count()
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(clock) / 10)


def test_training_decides_on_the_clock_and_keeps_the_checkpoint_before(tiny, tokens, tmp_path, ticking):
    last = train(tiny, tokens, tmp_path, device="cpu", seconds=12.0)
    content = json.loads((tmp_path / "clock.json").read_text())
    assert content["seconds"] == 12.0
    (first, *_) = content["decisions"]
    state = read_state(last)
    assert state["step"] == content["decisions"][-1]["end"] != tiny.training.steps, (
        "the steps are only a plan"
    )
    assert f"step-{first['step']:06d}" in [path.name for path in list_checkpoints(tmp_path)]


def test_the_same_decisions_make_the_same_weights(tiny: Recipe, tokens: Path, tmp_path: Path, monkeypatch):
    """Whether or not training was stopped, in its decay, and began again before that was decided."""
    clock = count()
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(clock) / 10)
    broken, copy = tmp_path / "broken", tmp_path / "copy"
    with pytest.raises(Interrupted):
        train(tiny, tokens, broken, device="cpu", seconds=12.0, progress=Alarm(15, 50))
    first = json.loads((broken / "clock.json").read_text())["decisions"][0]
    assert first["step"] < 50 == read_state(list_checkpoints(broken)[-1])["step"]
    for path in list_checkpoints(broken):  # as if it had been killed before the decision's step was saved
        if int(path.name.removeprefix("step-")) >= first["step"]:
            shutil.rmtree(path)
    end = train(tiny, tokens, broken, device="cpu", seconds=500.0)
    assert json.loads((broken / "clock.json").read_text())["decisions"][0] == first
    monkeypatch.setattr(Clock, "decide", lambda *_: None)  # only what was decided before
    copy.mkdir()
    shutil.copy(broken / "clock.json", copy)
    straight = train(tiny, tokens, copy, device="cpu")
    assert end.name == straight.name
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (end / name).read_bytes() == (straight / name).read_bytes()


def test_a_continued_training_that_was_stopped_ends_the_same(tiny, tokens, tmp_path, monkeypatch):
    last = train(tiny, tokens, tmp_path / "first", device="cpu")
    clock = {"seconds": 9.0, "begin": 12, "peak": 0.5, "decisions": [{"step": 20, "end": 40}]}
    for name in ("stopped", "straight"):
        shutil.copytree(last, tmp_path / name / last.name)
        (tmp_path / name / "clock.json").write_text(json.dumps(clock))
    monkeypatch.setattr(Clock, "decide", lambda *_: None)
    with pytest.raises(Interrupted, match="at step 27 of 40"):
        train(tiny, tokens, tmp_path / "stopped", device="cpu", progress=Alarm(15, 15))  # after 15 steps
    ends = [train(tiny, tokens, tmp_path / name, device="cpu") for name in ("stopped", "straight")]
    for name in ("model.safetensors", "optimizer.safetensors"):
        stopped, straight = (end / name for end in ends)
        assert stopped.read_bytes() == straight.read_bytes()
    assert (ends[0] / "model.safetensors").read_bytes() != (last / "model.safetensors").read_bytes()
    rates = [line["rate"] for line in read_metrics(tmp_path / "straight") if "rate" in line]
    assert max(rates) == 0.5 and rates[-1] < 0.05


def test_time_while_stopped_does_not_count(tiny: Recipe, tokens: Path, tmp_path: Path, monkeypatch):
    clock, offset = count(), [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(clock) / 10 + offset[0])
    with pytest.raises(Interrupted):
        train(tiny, tokens, tmp_path / "a", device="cpu", seconds=12.0, progress=Alarm(15, 9))
    offset[0] = 10_000.0
    steps = read_state(train(tiny, tokens, tmp_path / "a", device="cpu"))["step"]
    straight = read_state(train(tiny, tokens, tmp_path / "b", device="cpu", seconds=12.0))["step"]
    assert abs(steps - straight) <= 6


def test_a_damaged_file_is_named(tiny: Recipe, tokens: Path, tmp_path: Path):
    (tmp_path / "clock.json").write_text('{"seconds": "soon"}')
    with pytest.raises(RunError, match=r"clock\.json is damaged"):
        train(tiny, tokens, tmp_path, device="cpu")
