"""The trackers in their offline modes, each read back by its own means."""

import os
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from aurelius.config.recipe import Recipe
from aurelius.errors import RecipeError
from aurelius.pipeline.run import run as run_pipeline
from aurelius.progress import Progress
from aurelius.training.loop import train
from aurelius.training.metrics import overfitting, read_metrics
from aurelius.training.trackers import TRACKERS, check_trackers


@pytest.fixture(scope="module")
def tokens(tiny_run: Path) -> Path:
    return tiny_run / "tokens"


def logged(folder: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in read_metrics(folder) if "loss" in line}


def test_tensorboard(tiny: Recipe, tokens: Path, tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run" / "training"
    train(tiny, tokens, out, track=["tensorboard"], device="cpu")
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    found = {event.step: event.value for event in events.Scalars("loss")}
    assert found == pytest.approx(logged(out))
    assert "valid_bits_per_byte" in events.Tags()["scalars"]


def test_trackio(tiny: Recipe, tokens: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    pytest.importorskip("trackio")
    out = tmp_path / "run" / "training"
    train(tiny, tokens, out, track=["trackio"], device="cpu")
    assert capfd.readouterr().out == "", "the library never prints"
    (database,) = Path(os.environ["TRACKIO_DIR"]).rglob("*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select step, metrics from metrics").fetchall()
    assert {step for step, _ in rows} == set(logged(out)) | {6, 12}


def test_wandb(tiny: Recipe, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    out = tmp_path / "run" / "training"
    train(tiny, tokens, out, track=["wandb"], device="cpu")
    (file,) = (out / "wandb").glob("offline-run-*/*.wandb")
    until = time.monotonic() + 120  # its own process still writes when `finish` returns
    while b"valid_bits_per_byte" not in file.read_bytes():
        assert time.monotonic() < until, f"{file} holds {file.stat().st_size} bytes"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("tensorboard", "tensorboard --logdir {out}/tensorboard"),
        ("trackio", "trackio show --project aurelius"),
        ("wandb", "wandb sync {out}/wandb/offline-run-"),
    ],
)
def test_a_tracker_says_where_its_figures_are(
    name: str, command: str, tiny: Recipe, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    told: list[str] = []

    class Notes(Progress):
        def note(self, text: str) -> None:
            told.append(text)

    out = tmp_path / "run" / "training"
    train(tiny, tokens, out, track=[name], device="cpu", progress=Notes())
    assert any(text.startswith(f"{name}: ") and command.format(out=out) in text for text in told)


def test_an_unknown_tracker_shows_before_the_first_stage(tmp_path: Path):
    with pytest.raises(RecipeError, match="no tracker 'mlflow'; choose from tensorboard, trackio, wandb"):
        run_pipeline("nano", tmp_path / "run", track=["mlflow"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_tracker_says_what_installs_it(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RecipeError, match=rf"pip install 'aurelius-lm\[{name}\]'"):
        check_trackers([name])


def test_overfitting_is_recognised():
    def figures(trained: list[float], held_out: list[float]) -> list[dict[str, float]]:
        pairs = zip(trained, held_out, strict=True)
        return [{"step": 100 * n, "loss": t, "valid_loss": h} for n, (t, h) in enumerate(pairs, 1)]

    assert overfitting([]) is None
    assert overfitting(figures([3, 2, 1.5], [3, 2.1, 1.7])) is None
    rising = overfitting(figures([3, 2, 1], [3, 1.9, 2.2]))
    assert rising and "lowest at step 200 (1.900) and has risen to 2.200" in rising
    assert "training.steps=200" in rising
    apart = overfitting(figures([3, 2, 1], [3, 2.1, 2.0]))
    assert apart and "1.000 on stories trained on and 2.000 on held-out ones" in apart
