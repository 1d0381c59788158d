"""Continuing a finished run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from aurelius.config.recipe import Recipe
from aurelius.errors import RecipeError, RunError
from aurelius.model.checkpoint_folder import list_checkpoints, read_state
from aurelius.pipeline.run import run
from aurelius.training.metrics import read_metrics


@pytest.fixture
def copy(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "tiny"))


def test_a_run_goes_on_from_its_last_weights(copy: Path):
    before = read_metrics(copy / "training")
    result = run(copy, more_minutes=0.03, device="cpu")
    assert result.done == ["training", "evaluation", "export"], "corpus and tokenizer are as they were"
    assert (copy / "superseded/training-1/step-000012/model.safetensors").is_file(), "nothing is lost"
    assert (copy / "superseded/export-1").is_dir()
    state = read_state(list_checkpoints(copy / "training")[-1])
    clock = json.loads((copy / "training/clock.json").read_text())
    decisions = clock["decisions"]
    assert clock["begin"] == 12 <= decisions[0]["step"] < state["step"] == decisions[-1]["end"]
    lines = read_metrics(copy / "training")
    assert lines[: len(before)] == before and lines[-1]["step"] == state["step"]
    rates = [line["rate"] for line in lines if "rate" in line and line["step"] > 12]
    assert 0 < min(rates) < 1, "it decays again"
    assert Recipe.load(copy).training.minutes > 0.03, "the total"
    assert run(copy).done == []
    again = run(copy, more_minutes=0.02, device="cpu")
    assert again.done and (copy / "superseded/training-2/clock.json").is_file()


def test_what_cannot_be_continued_is_refused_and_untouched(copy: Path, tiny: Recipe, tmp_path: Path):
    for minutes in (0, -1.0):
        with pytest.raises(RecipeError, match="above 0"):
            run(copy, more_minutes=minutes)
    changes: list[dict[str, Any]] = [{"minutes": 1.0}, {"update": True}, {"overrides": {"training.batch": 2}}]
    for more in changes:
        with pytest.raises(RunError, match="leave out minutes, update and changes"):
            run(copy, more_minutes=1.0, **more)
    with pytest.raises(RunError, match="not finished training"):
        run(tiny, tmp_path / "other", more_minutes=1.0)
    assert not (copy / "superseded").exists()
