"""A study of two arms and two seeds, 20 steps each, stopped half-way and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from aurelius.cli.main import main
from aurelius.data.stories import read_stories
from aurelius.errors import CompareError, RunError
from aurelius.evaluation.likelihood import measure
from aurelius.inference.open_model import open_model
from aurelius.model.checkpoint_folder import newest_checkpoint, read_state
from aurelius.studies.definition import Study
from aurelius.studies.engines import open_engine
from aurelius.studies.figure import draw
from aurelius.studies.report import markdown, rows
from aurelius.studies.results import Documents, Record, Results
from aurelius.studies.run import render, run_study
from aurelius.training.metrics import read_metrics

SMALL = """
title = "Two | widths"
question = "Is wider better?"
recipe = "pico"
seeds = [0, 1]
[set]
corpus.stories = 400
tokenizer.vocab_size = 420
tokenizer.max_characters = 80
model = {{ layers = 2, d_mlp = 48, heads = 4, kv_heads = 2, context = 48 }}
training = {{ steps = {steps}, batch = 4, log_every = 2, checkpoint_every = 5, max_loss_rise = 0.0 }}
[grid]
model.d_model = [32, 48]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a study that was killed half-way and then finished; its runs are next to it."""
    folder = tmp_path_factory.mktemp("study")
    path = folder / "widths.toml"
    path.write_text(SMALL.format(steps=20))
    command = [
        sys.executable,
        "-m",
        "aurelius",
        "study",
        str(path),
        "--out",
        str(folder / "runs"),
        "--jobs",
        "1",
    ]
    process = subprocess.Popen([*command, "--device", "cpu"], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not path.with_suffix(".json").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = len(Results.load(path.with_suffix(".json")).records)
    assert 1 <= kept < 4, "it was killed half-way"
    first = next((folder / "runs").glob("*/training/manifest.json"))
    trained_at = first.stat().st_mtime_ns
    while True:  # the orphan ends by itself, with a checkpoint
        try:
            run_study(path, folder / "runs", jobs=2, device="cpu")
            break
        except RunError as error:
            assert "another aurelius process" in str(error) and time.monotonic() < deadline
    assert first.stat().st_mtime_ns == trained_at, "trained once"
    return path


def test_every_trial_is_there_and_its_scores_are_those_of_evaluate(finished: Path):
    results = Results.load(finished.with_suffix(".json"))
    assert [(r.arm, r.seed) for r in results.records] == [
        (f"d_model={width}", seed) for width in (32, 48) for seed in (0, 1)
    ]
    record = results.records[2]
    run = finished.parent / "runs/d_model=48-seed-0"
    texts = read_stories(run / "corpus", "valid")
    assert results.documents == Documents.of("held-out", texts)
    figures = measure(open_model(run, "cpu"), texts)
    assert record.bits_per_byte_text == pytest.approx(figures.bits_per_byte_text, abs=2e-5)
    assert sum(record.nats) / figures.bytes / np.log(2) == pytest.approx(figures.bits_per_byte_text, rel=1e-4)
    assert (record.steps, record.tokens) == (20, 20 * 4 * 48)


def test_a_study_that_is_asked_to_stop_saves_what_it_has(tmp_path: Path):
    path = tmp_path / "long.toml"
    path.write_text(SMALL.format(steps=100_000))
    command = [sys.executable, "-m", "aurelius", "study", str(path), "--out", str(tmp_path / "runs")]
    process = subprocess.Popen([*command, "--device", "cpu"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "runs").glob("*/training/step-*"))) < 3:  # both trials are training
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143 and "run the same command to resume" in told and "Traceback" not in told
    for folder in (tmp_path / "runs").glob("*-seed-0/training"):
        last, logged = newest_checkpoint(folder), read_metrics(folder)
        assert read_state(last)["step"] >= logged[-1]["step"] > 0


def test_stages_are_shared_between_arms(finished: Path):
    for name in ("corpus/train.parquet", "tokenizer/tokenizer.json", "tokens/train.bin"):
        files = list((finished.parent / "runs").glob(f"*/{name}"))
        assert len(files) == 4 and len({path.stat().st_ino for path in files}) == 1


def test_report_and_figure_say_what_the_json_says(finished: Path, capsys: pytest.CaptureFixture):
    report, results = finished.with_suffix(".md").read_text(), Results.load(finished.with_suffix(".json"))
    for row in rows(results):
        assert f"{row['mean']:.4f} ± {row['deviation']:.4f}" in report
    assert "| d_model=48 |" in report
    assert "cover other seeds" in report and "Two | widths" in report
    svg = ET.fromstring(finished.with_suffix(".svg").read_text())
    names = {child.tag.split("}")[1]: child.text for child in svg}
    assert names["title"] == "Two | widths" and f"{rows(results)[1]['mean']:.4f}" in (names["desc"] or "")
    before = [finished.with_suffix(end).read_bytes() for end in (".md", ".svg")]
    assert main(["study", str(finished), "--render", "--json"]) == 0
    assert [finished.with_suffix(end).read_bytes() for end in (".md", ".svg")] == before
    table = json.loads(capsys.readouterr().out)
    assert table["baseline"] == "d_model=32" and table["arms"][1]["difference"]["seeds"] == 2


def test_figures_that_are_asked_for_later_are_measured_without_training(finished: Path, tmp_path: Path):
    path = tmp_path / "widths.toml"
    asked = 'figures = ["bottleneck.head_effective_rank", "sinks.norm_by_layer.others.-1", "gap.nothing"]'
    path.write_text(finished.read_text().replace("[set]", f"{asked}\n[set]"))
    path.with_suffix(".json").write_bytes(finished.with_suffix(".json").read_bytes())
    before = [
        p.stat().st_mtime_ns for p in sorted((finished.parent / "runs").glob("*/training/manifest.json"))
    ]
    results = run_study(path, finished.parent / "runs", device="cpu")
    after = [
        p.stat().st_mtime_ns for p in sorted((finished.parent / "runs").glob("*/training/manifest.json"))
    ]
    assert before == after, "nothing was trained"
    record = results.of("d_model=48")[1]
    model = open_model(finished.parent / "runs/d_model=48-seed-1", "cpu")
    spectrum = np.linalg.svd(model.head().numpy(), compute_uv=False)
    shares = spectrum / spectrum.sum()
    assert record.figures["bottleneck.head_effective_rank"] == pytest.approx(
        np.exp(-(shares * np.log(shares)).sum()), abs=0.01
    )
    assert record.figures["sinks.norm_by_layer.others.-1"] and record.figures["gap.nothing"] is None
    assert results.figure_difference("d_model=48", "gap.nothing") is None
    difference = results.figure_difference("d_model=48", "bottleneck.head_effective_rank")
    assert difference and difference.shown_as(".3g") in path.with_suffix(".md").read_text()


def test_results_are_enough_and_an_arm_that_changed_is_trained_again(finished: Path, tmp_path: Path):
    path = tmp_path / "widths.toml"
    path.write_text(finished.read_text())
    path.with_suffix(".json").write_bytes(finished.with_suffix(".json").read_bytes())
    run_study(path, tmp_path / "runs", device="cpu")
    assert not (tmp_path / "runs").exists(), "results are enough, without the runs"
    path.write_text(finished.read_text().replace("[32, 48]", "[32, 64]"))
    results = run_study(path, tmp_path / "runs", device="cpu", jobs=1)
    assert [row["arm"] for row in rows(results)] == ["d_model=32", "d_model=64"]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["d_model=64-seed-0", "d_model=64-seed-1"]


@pytest.mark.parametrize("line", ['measure = "bits_per_byte"', "stories = 3", 'documents = "other.txt"'])
def test_results_measured_otherwise_are_refused(finished: Path, tmp_path: Path, line: str):
    path = tmp_path / "widths.toml"
    path.write_text(f"{line}\n{finished.read_text()}")
    path.with_suffix(".json").write_bytes(finished.with_suffix(".json").read_bytes())
    with pytest.raises(CompareError, match=rf"measured with {line.split()[0]} = .*move the file away"):
        run_study(path, tmp_path / "runs", device="cpu")
    with pytest.raises(CompareError, match="move the file away"):
        render(path)


def test_results_on_other_documents_are_refused(finished: Path, tmp_path: Path):
    path = tmp_path / "widths.toml"
    path.write_text(finished.read_text().replace("corpus.stories = 400", "corpus.stories = 300"))
    path.with_suffix(".json").write_bytes(finished.with_suffix(".json").read_bytes())
    with pytest.raises(CompareError, match=r"12 documents of held-out.* not the 9 .*move the file"):
        run_study(path, tmp_path / "runs", device="cpu", jobs=1)


def test_a_trial_that_fails_leaves_the_others(tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "rates.toml"
    text = SMALL.format(steps=12).replace("seeds = [0, 1]", "seeds = [0]")
    text = text.replace("model.d_model = [32, 48]", "optimizer.learning_rate = [0.01, 1e30]")
    path.write_text(text.replace("heads = 4,", "heads = 4, d_model = 32,"))
    assert main(["study", str(path), "--out", str(tmp_path / "runs"), "--device", "cpu", "--quiet"]) == 2
    message = capsys.readouterr().err
    assert "1 of 2 trainings failed" in message and "learning_rate=1e+30, seed 0: step" in message
    assert [record.seed for record in Results.load(path.with_suffix(".json")).records] == [0]


def test_damaged_results_are_named(tmp_path: Path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(CompareError, match=r"a\.json is not the results of a study"):
        render(tmp_path / "a.toml")
    (tmp_path / "a.json").write_text("[")
    with pytest.raises(CompareError, match="damaged"):
        render(tmp_path / "a.toml")
    with pytest.raises(CompareError, match="is missing"):
        render(tmp_path / "b.toml")
    with pytest.raises(CompareError, match="no engine"):
        open_engine("slurm")


def test_a_missing_engine_shows_before_anything_is_prepared(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("aurelius.studies.engines.find_spec", lambda name: None)
    path = tmp_path / "widths.toml"
    path.write_text(finished.read_text())
    with pytest.raises(CompareError, match=r"pip install 'aurelius-lm\[ray\]'"):
        run_study(path, tmp_path / "runs", engine="ray")
    assert not (tmp_path / "runs").exists()


def test_a_curve_over_one_field_has_a_line_per_arm():
    study = Study.of(
        {
            "title": "Curves",
            "recipe": "pico",
            "x": "training.steps",
            "grid": {"training.steps": [10, 20, 80], "model.d_mlp": [64, 96]},
        }
    )
    results = Results(study, Documents("held-out", "0", [100, 200]))
    for n, steps in enumerate((10, 20, 80)):
        for width in (64, 96):
            name = f"steps={steps}, d_mlp={width}"
            values = 3.0 - n, 2.9 - n
            results.add(
                Record(
                    name, 0, {}, 1, steps, steps, 1.0, *values, 4.0, "cpu", 1, {"torch": "2"}, [50.0, 99.0]
                )
            )

    svg = draw(results)
    assert "d_mlp=64" in svg and "d_mlp=96" in svg and "training.steps" in svg
    assert "| steps=10, d_mlp=64 |" in markdown(results, Path("curves.toml"))
