import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aurelius.cli.curves import BARS, chart, watch
from aurelius.cli.main import main
from aurelius.errors import RunError

POINTS = st.lists(
    st.tuples(st.integers(0, 500), st.integers(0, 10**9).map(lambda n: n / 1000)), min_size=1
).map(lambda points: sorted({step: (step, value) for step, value in points}.values()))


@given(POINTS, st.integers(1, 60), st.integers(1, 8))
def test_a_chart_has_its_size_and_its_extremes(points: list[tuple[int, float]], width: int, height: int):
    lines = chart(points, width, height)
    assert len(lines) == height and len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 11 + width
    filled = [sum(BARS.index(line[column]) for line in lines) for column in range(11, len(lines[0]))]
    assert all(1 <= count <= 8 * height for count in filled)


def test_a_falling_curve_falls():
    lines = chart([(step, 100.0 - step) for step in range(101)], 20, 4)
    heights = [sum(BARS.index(line[column]) for line in lines) for column in range(11, 31)]
    assert heights == sorted(heights, reverse=True) and heights[0] == 32 and heights[-1] == 1
    assert lines[0].split()[0] == "97.5" and lines[-1].split()[0] == "0", "means of the first and last column"


def test_values_that_are_not_finite_leave_a_gap_or_repeat():
    assert chart([(0, float("nan"))], 5, 1) == ["         0   "]
    assert chart([(0, 1.0), (1, float("nan")), (2, 2.0)], 3, 1)[0].endswith("▁▁█")


def test_a_finished_run_is_drawn_once(tiny_run: Path):
    out = io.StringIO()
    watch(tiny_run, Console(file=out, width=100))
    text = out.getvalue()
    last = json.loads((tiny_run / "training/metrics.jsonl").read_text().splitlines()[-1])
    for part in ("tiny: step 12 of 12", "done", "loss (nats", "learning rate", "tokens per second"):
        assert part in text
    assert f"held-out bits per byte: {last['valid_bits_per_byte']:.4g}" in text


def test_what_cannot_be_watched_is_named(tmp_path: Path, tiny_run: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(RunError, match="not a run folder"):
        watch(tmp_path, Console())
    (tmp_path / "recipe.toml").write_text((tiny_run / "recipe.toml").read_text())
    assert main(["watch", str(tmp_path)]) == 2
    assert "has not started training" in capsys.readouterr().err
