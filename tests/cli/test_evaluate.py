"""``aurelius evaluate`` by each instrument."""

import json
import shlex
from pathlib import Path

import pytest
import yaml

from aurelius.cli.main import main

LIKELIHOOD = {"documents", "bytes", "tokens", "bits_per_byte", "nats_per_token", "packed_blocks"}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "some_pairs"
    folder.mkdir()
    (folder / "verbs.txt").write_text("he go .\nhe goes .\nthey goes .\nthey go .\n")
    (folder / "nouns.txt").write_text("a cats\na cat\n")
    return folder


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    file = tmp_path / "held-out.txt"
    file.write_text("\n\n".join(f"Once Tim had {n} cats. He fed the cats. " * 9 for n in range(2, 12)))
    return file


def measured(capsys: pytest.CaptureFixture, *arguments: object) -> dict:
    command = ["evaluate", *map(str, arguments), "--json", "--device", "cpu"]
    assert main(command) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "name, keys",
    [
        ("sinks", {"contexts", "tokens_per_context", "sink_metric", "attention", "norm_by_layer"}),
        ("bottleneck", {"positions", "width", "head_effective_rank", "nats_per_token_by_rank"}),
        ("coherence", {"seed", "sentence", "pronoun"}),
        ("novelty", {"sampling", "stories", "held_out", "ended_within_context"}),
    ],
)
def test_a_run_is_measured_on_its_own_stories(
    tiny_storyteller: Path, name: str, keys: set[str], capsys: pytest.CaptureFixture
):
    found = measured(capsys, tiny_storyteller, "--measure", name)
    assert list(found) == ["model", "parameters", "on", "read_as", name]
    assert found["on"] == "the run's own held-out stories" and keys <= set(found[name])


def test_several_instruments_are_reported_in_turn(
    tiny_run: Path, held_out: Path, pairs: Path, capsys: pytest.CaptureFixture
):
    asked = ["--measure", "sinks", "--measure", "likelihood", "--measure", "bottleneck", "--measure", "sinks"]
    found = measured(capsys, tiny_run, "--on", held_out, "--pairs", pairs, *asked)
    assert set(found) >= LIKELIHOOD and found["on"] == str(held_out) and found["documents"] == 10
    assert [name for name in found if isinstance(found[name], dict)] == ["sinks", "bottleneck", "pairs"]
    alone = measured(capsys, tiny_run, "--on", held_out)
    assert {name: found[name] for name in alone} == alone, "of old, and by default"


def test_pairs_need_no_stories(tiny_run: Path, pairs: Path, capsys: pytest.CaptureFixture):
    folder = tiny_run / "export/huggingface"
    for model in (tiny_run, folder):
        found = measured(capsys, model, "--pairs", pairs)
        assert list(found) == ["model", "parameters", "pairs"]
        assert {name: share["of"] for name, share in found["pairs"]["paradigms"].items()} == {
            "nouns": 1,
            "verbs": 2,
        }
        assert found["pairs"]["presented"] == "sentence"
    assert measured(capsys, folder, "--pairs", pairs, "--measure", "pairs")["pairs"] == found["pairs"]
    assert measured(capsys, folder, "--pairs", pairs, "--present", "as-is")["pairs"]["presented"] == "as-is"


def test_stories_and_pairs(tiny_run: Path, held_out: Path, pairs: Path, capsys: pytest.CaptureFixture):
    found = measured(capsys, tiny_run, "--on", held_out, "--pairs", pairs)
    assert set(found) >= LIKELIHOOD and len(found["pairs"]["paradigms"]) == 2


def test_a_folder_is_compared_with_what_it_was_trained_on(
    tiny_run: Path, held_out: Path, capsys: pytest.CaptureFixture
):
    command = [tiny_run / "export/huggingface", "--on", held_out, "--measure", "novelty"]
    found = measured(capsys, *command, "--trained-on", held_out)["novelty"]
    assert found["held_out"]["texts"] == 10 and found["held_out"]["seen_10"] == 1
    assert main(["evaluate", *map(str, command)]) == 2
    assert "add --trained-on" in capsys.readouterr().err


def test_lm_eval_reads_what_is_written(
    tiny_run: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    out = tmp_path / "tasks"
    assert main(["evaluate", str(tiny_run), "--pairs", str(pairs), "--lm-eval", str(out)]) == 0
    command = shlex.split(capsys.readouterr().err.rpartition(f"wrote 2 tasks into {out}: ")[2])
    assert command[:2] == ["lm_eval", "run"]
    options = dict(zip(command[2::2], command[3::2], strict=True))
    assert options["--tasks"] == "some_pairs" and options["--include_path"] == str(out)
    assert str(tiny_run / "export/huggingface") in options["--model_args"]
    group, *tasks = (yaml.safe_load((out / f"{name}.yaml").read_text()) for name in
                     ("some_pairs", "some_pairs_nouns", "some_pairs_verbs"))  # fmt: skip
    assert group["task"] == [task["task"] for task in tasks]
    files = [Path(task["dataset_kwargs"]["data_files"]["test"]) for task in tasks]
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    assert rows == [
        [{"bad": "A cats", "good": "A cat"}],
        [{"bad": "He go.", "good": "He goes."}, {"bad": "They goes.", "good": "They go."}],
    ]


def test_figures_are_printed_for_people(tiny_run: Path, pairs: Path, capsys: pytest.CaptureFixture):
    assert main(["evaluate", str(tiny_run), "--pairs", str(pairs), "--measure", "sinks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "sinks" in lines and "  sink metric" in lines
    assert any(line.startswith("    verbs ") and line.endswith("of 2") and "[" in line for line in lines)
    assert all(len(line) <= 110 for line in lines), "long lists are left to --json"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["RUN", "--measure", "pairs"], "minimal pairs are not part of Aurelius; add --pairs FOLDER"),
        (["RUN", "--lm-eval", "tasks"], "--lm-eval is about minimal pairs: add --pairs FOLDER"),
        (["RUN", "--measure", "sinks", "--lm-eval", "tasks"], "--lm-eval is about minimal pairs"),
        (["RUN", "--trained-on", "x.txt"], "--trained-on is for --measure novelty"),
        (
            ["RUN/export/huggingface", "--measure", "sinks"],
            "is not a run, so say what to measure on",
        ),
        (["RUN", "--measure", "sinks", "--out", "there"], "--out has no effect with --on, --measure or"),
        (["RUN", "--measure", "sinks", "--minutes", "1"], "--minutes has no effect with --on, --measure or"),
        (["RUN", "--present", "as-is"], "--present is about minimal pairs: add --pairs FOLDER"),
        (
            ["RUN", "--on", "x.txt", "--measure", "pairs", "--pairs", "p"],
            "--on has no effect on minimal pairs",
        ),
        (["RUN", "--pairs", "RUN"], "holds no minimal pairs"),
        (["RUN", "--pairs", "none"], "none holds no minimal pairs"),
    ],
)
def test_mistakes(tiny_run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture):
    assert main(["evaluate", *(word.replace("RUN", str(tiny_run)) for word in arguments), "-q"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_an_unknown_instrument_is_named(tiny_run: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(tiny_run), "--measure", "sink"])
    assert stop.value.code == 2 and "sinks" in capsys.readouterr().err
