"""``aurelius generate``, beyond a single story."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from aurelius.cli.main import main


def test_many_stories_and_the_rest_of_an_interrupted_file(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    out, prompts = tmp_path / "stories.jsonl", tmp_path / "prompts.txt"
    prompts.write_text("Once upon a time\n\nThe old dog\n")
    command = ["generate", str(tiny_run), "--prompts", str(prompts), "--count", "3", "--seed", "5"]
    command += ["--workers", "1", "--out", str(out)]
    assert main(command) == 0
    assert "6 stories" in capsys.readouterr().out
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["prompt"], row["seed"]) for row in rows] == [
        (prompt, seed) for prompt in ("Once upon a time", "The old dog") for seed in (5, 6, 7)
    ]
    assert all(row["text"].startswith(row["prompt"]) and set(row) >= {"tokens", "ended"} for row in rows)
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err


def test_stories_are_printed_if_no_file_is_named(
    tiny_run: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfOne day\nThe cat\n")))
    assert main(["generate", str(tiny_run), "--prompts", "-", "--workers", "1"]) == 0
    stories = capsys.readouterr().out.strip().split("\n\n")
    assert sorted(story.split()[0] for story in stories) == ["One", "The"]


def test_a_cut_story_says_so(tiny_run: Path, capsys: pytest.CaptureFixture):
    hot = ["--temperature", "1", "--min-p", "0", "--seed", "1"]
    assert main(["generate", str(tiny_run), "Once", "--max-tokens", "6", *hot]) == 0
    assert "stopped at the limit of 6 tokens; --max-tokens 12 lets it go on" in capsys.readouterr().err
    assert main(["generate", str(tiny_run), "Once", "--endless", "80", *hot]) == 0
    assert "limit" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        (["--count", "0"], "--count 0: it is the number of stories, at least 1"),
        (["--endless", "0"], "--endless 0: it is the number of tokens to write"),
        (["--endless", "5", "--count", "2"], "--endless writes one story"),
        (["--temperature", "nan"], "--temperature nan: Input should be a finite number"),
        (["--temperature", "-1"], "--temperature -1.0: Input should be greater than or equal to 0"),
        (["--prompts", "x", "Once"], "a prompt and --prompts were both given"),
        (["--endless", "5", "--max-tokens", "3"], "both say how many tokens to write"),
        (["--count", "2", "--workers", "0"], "--workers 0: at least one process has to write"),
        (["--seed", "-1"], "seed -1 is not a number from 0 to"),
        (["--prompts", "."], "--prompts .: there is no such file"),
        (["--prompts", "missing.txt"], "--prompts missing.txt: there is no such file"),
        (["the " * 100, "--max-tokens", "0"], "shorten it, or say how many tokens to write"),
    ],
)
def test_mistakes(tiny_run: Path, options: list[str], message: str, capsys: pytest.CaptureFixture):
    assert main(["generate", str(tiny_run), *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_run_and_its_folder_write_without_pytorch(tiny_run: Path):
    program = (
        "import sys; from aurelius.cli.main import main;"
        "assert main(['generate', sys.argv[1], 'Once', '--seed', '1']) == 0;"
        "assert not {'torch', 'transformers', 'numba', 'scipy'} & set(sys.modules), 'slow to import'"
    )
    for model in (tiny_run, tiny_run / "export/huggingface"):
        subprocess.run([sys.executable, "-c", program, str(model)], check=True, capture_output=True)
