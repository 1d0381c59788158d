import io
import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aurelius.cli.chart import SCALE, line_chart
from aurelius.cli.curves import watch
from aurelius.cli.main import main
from aurelius.errors import RunError

POINTS = st.lists(
    st.tuples(st.integers(0, 500), st.integers(0, 10**9).map(lambda n: n / 1000)), min_size=1
).map(lambda points: sorted({step: (step, value) for step, value in points}.values()))


def dots(chart: str) -> set[tuple[int, int]]:
    """Return the (column, row) of the dots of a chart, read back from its braille."""
    order = (0, 1, 2, 6), (3, 4, 5, 7)  # bits by column and row
    return {
        (2 * column + x, 4 * line + y)
        for line, text in enumerate(chart.split("\n"))
        for column, cell in enumerate(text[SCALE + 1 :])
        if cell != " "
        for x in range(2)
        for y in range(4)
        if ord(cell) - 0x2800 & 1 << order[x][y]
    }


@given(st.lists(POINTS, min_size=1, max_size=3), st.integers(12, 60), st.integers(1, 8))
def test_a_chart_has_its_size_and_every_column_of_a_curve_a_dot(curves, width: int, height: int):
    text = line_chart(curves, width, height).plain
    lines = text.split("\n")
    assert len(lines) == height and {len(line) for line in lines} == {width}
    found = dots(text)
    assert found and all(0 <= y < 4 * height for _, y in found)
    if len(curves) == 1 and len(curves[0]) > 1:
        columns = {x for x, _ in found}
        assert columns == set(range(max(columns) + 1)), "no gaps"


def test_a_line_falls_from_corner_to_corner():
    found = dots(line_chart([[(step, 100.0 - step) for step in range(101)]], SCALE + 1 + 20, 4).plain)
    assert (0, 0) in found and (39, 15) in found
    assert all(abs(y - x * 15 / 39) <= 1.5 for x, y in found)


def test_values_that_are_not_finite_are_left_out():
    assert not dots(line_chart([[(0, float("nan"))]], 20, 2).plain)
    gap = [(0, 1.0), (1, float("inf")), (2, 2.0)]
    assert line_chart([gap], 20, 2).plain == line_chart([[(0, 1.0), (2, 2.0)]], 20, 2).plain


def drawn(run: Path, width: int = 100, height: int = 40, **how) -> str:
    out = io.StringIO()
    watch(run, Console(file=out, width=width, height=height), **how)
    return out.getvalue()


def test_a_finished_run_is_drawn_once(tiny_run: Path):
    text = drawn(tiny_run)
    last = json.loads((tiny_run / "training/metrics.jsonl").read_text().splitlines()[-1])
    for part in ("tiny: step 12 of 12", "done after", "nats per token", "training, bits per byte"):
        assert part in text
    assert f"held-out bits per byte: {last['valid_bits_per_byte']:.4g}" in text


def test_a_picture_fits_a_small_terminal(tiny_run: Path):
    for height in (24, 12, 6):
        lines = drawn(tiny_run, 80, height, against=tiny_run).rstrip("\n").split("\n")
        assert len(lines) < height and all(len(line) <= 80 for line in lines)
        assert "held-out bits per byte" in "\n".join(lines)


def test_another_run_is_drawn_with_it(tiny_run: Path):
    text = drawn(tiny_run, against=tiny_run)
    last = json.loads((tiny_run / "training/metrics.jsonl").read_text().splitlines()[-1])
    assert f"(the other run: {last['valid_bits_per_byte']:.4g})" in text


def test_it_notices_that_training_has_stopped(tiny_run: Path, tmp_path: Path):
    run = tmp_path / "stopped"
    shutil.copytree(tiny_run, run)
    (run / "training/manifest.json").unlink()
    assert "training has stopped" in drawn(run) and "stopped after" in drawn(run)
    with FileLock(run / ".lock"):  # somebody works in it
        assert "training has stopped" not in drawn(run)


def test_figures_as_json(tiny_run: Path, capsys: pytest.CaptureFixture):
    assert main(["watch", str(tiny_run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "done" and told["step"] == 12
    report = json.loads((tiny_run / "training/metrics.jsonl").read_text().splitlines()[-1])
    assert told["valid_loss"] == report["valid_loss"]


def test_what_cannot_be_watched_is_named(tmp_path: Path, tiny_run: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(RunError, match="not a run folder"):
        watch(tmp_path, Console())
    (tmp_path / "recipe.toml").write_text((tiny_run / "recipe.toml").read_text())
    assert main(["watch", str(tmp_path)]) == 2
    assert "has not started training" in capsys.readouterr().err
