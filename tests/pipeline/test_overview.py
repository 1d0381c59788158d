import json
import os
import shutil
from pathlib import Path

import pytest

from aurelius.cli.main import main
from aurelius.pipeline.overview import overviews


def test_runs_are_listed_with_their_state(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    for name in ("whole", "half", "new", "broken"):
        shutil.copytree(tiny_run, tmp_path / name)
    (tmp_path / "half/training/manifest.json").unlink()
    shutil.rmtree(tmp_path / "half/evaluation")
    for stage in ("corpus", "tokenizer", "tokens", "training", "evaluation", "export"):
        shutil.rmtree(tmp_path / "new" / stage)
    (tmp_path / "broken/recipe.toml").write_text("nonsense")
    for file in (tmp_path / "half").rglob("*"):
        os.utime(file, (1e9, 1e9))
    runs = {run.name: run for run in overviews(tmp_path)}
    assert list(runs)[-1] == "half" and runs["half"].age > 3e8, "the one worked on last first"
    assert runs["whole"].state == "exported" and runs["whole"].tokens == 12 * 4 * 48
    report = json.loads((tiny_run / "evaluation/report.json").read_text())
    assert runs["whole"].bits_per_byte == report["documentwise"]["bits_per_byte"]
    assert runs["half"].state == "training, 12 of 12 steps" and runs["half"].bits_per_byte is None
    assert (runs["new"].state, runs["new"].tokens) == ("only a recipe", 0)
    assert runs["broken"].state.startswith("damaged: ")
    assert main(["runs", str(tmp_path), "--json"]) == 0
    assert [run["name"] for run in json.loads(capsys.readouterr().out)] == list(runs)
    assert main(["runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"{report['documentwise']['bits_per_byte']:.4f}" in out and "storyteller" in out


def test_a_folder_without_runs_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["runs", str(tmp_path)]) == 0
    assert "aurelius run nano makes one" in capsys.readouterr().out
