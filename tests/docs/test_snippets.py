"""Every snippet of README and docs runs, in miniature: recipes are tiny, and minutes and steps are few.

The snippets of a page run in order, in one folder that has the files they name. `<!-- not run: REASON -->` on
the line above a snippet leaves it out.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomlkit

from aurelius.cli.main import main
from aurelius.config import shipped
from aurelius.config.recipe import Recipe
from tests.conftest import TINY

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))
)
FENCE = re.compile(r"(?P<above>[^\n]*)\n```(?P<language>\w*)\n(?P<text>.*?)\n```\n", re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")
SMALL = {  # how numbers shrink
    r"minutes [\d.]+": "minutes 0.01",  # and --more-minutes
    r"training\.steps=\d+": "training.steps=4",
    r'"training\.steps": \d+': '"training.steps": 4',
    r"--nproc-per-node \d+": "--nproc-per-node 2",
    r"tokens = [\d_]+": "tokens = 800",
    r"--count \d+": "--count 2",
    r"--endless \d+": "--endless 60",
}
STORIES = "\n<|endoftext|>\n".join(
    f"Once upon a time, a little {animal} found a {thing} near the river. The {animal} liked the {thing}. "
    f"They played until the sun went down, and then the {animal} went home to sleep."
    for animal in ("dog", "cat", "bird", "frog", "mouse", "fox", "bear", "duck", "goat", "pig")
    for thing in ("ball", "kite", "hat", "stone", "shell", "leaf", "boat", "drum", "cake", "star")
)


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page, and whether a line above says that it does not run here."""

    page: str
    line: int
    language: str
    text: str
    skipped: bool


def snippets(page: str) -> list[Snippet]:
    content = (ROOT / page).read_text(encoding="utf-8")
    return [
        Snippet(
            page,
            content.count("\n", 0, found.start()) + 2,
            found["language"],
            found["text"],
            bool(NOT_RUN.fullmatch(found["above"])),
        )
        for found in FENCE.finditer(content)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_code_is_fenced_and_its_language_named(page: str):
    content = (ROOT / page).read_text(encoding="utf-8")
    prose = FENCE.sub("\n", content)
    assert not re.search(r"\n\n {4}\S", prose), "an indented block, which no test would run"
    assert all(s.language in ("bash", "python", "toml", "text") for s in snippets(page))


@pytest.fixture
def small(tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the files that the pages name, where every shipped recipe is a tiny one."""
    monkeypatch.chdir(tmp_path)
    original = shipped.text
    monkeypatch.setattr(shipped, "text", lambda name: tiny_version(original(name)))
    names = ["stories.txt", "held-out.txt", "mine.txt", "TinyStoriesV2-GPT4-train.sample.txt"]
    names += ["TinyStoriesV2-GPT4-valid.sample.txt", "prompts.txt"]
    monkeypatch.setattr("webbrowser.open", lambda address: True)
    shutil.copytree(tiny_run / "export/huggingface", tmp_path / "path/to/llama")
    shutil.copytree(tiny_run / "export/huggingface", tmp_path / "path/to/another/model")
    rows = [json.dumps({"text": text}) for text in STORIES.split("\n<|endoftext|>\n")]
    (tmp_path / "TinyStories-v1-train.sample.jsonl").write_text("\n".join(rows))
    for name in names:
        (tmp_path / name).write_text(STORIES.replace("river", name.split(".")[0]))
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_snippets_run(page: str, small: Path, tiny_run: Path):
    if "--out runs/mine" not in (ROOT / page).read_text(encoding="utf-8"):
        shutil.copytree(tiny_run, small / "runs/mine")  # the page assumes that there is a run
    shutil.copytree(tiny_run, small / "runs/earlier")
    for snippet in snippets(page):
        if snippet.skipped:
            continue
        try:
            if snippet.language == "bash":
                for command in commands(snippet.text):
                    run_command(command)
            elif snippet.language == "python":
                code = compile(shrunk(snippet.text), f"{snippet.page}:{snippet.line}", "exec")
                exec(code, {"__name__": "__main__"})
            elif snippet.language == "toml" and "[grid]" in snippet.text:
                (small / "study.toml").write_text(shrunk(snippet.text))
            elif snippet.language == "toml":
                (small / "mine.toml").write_text(snippet.text)
                Recipe.load("mine.toml")
                (small / "mine.toml").write_text(tiny_version(snippet.text))
        except BaseException as error:
            error.add_note(f"in the snippet at {snippet.page}:{snippet.line}")
            raise


def shrunk(text: str) -> str:
    for pattern, replacement in SMALL.items():
        text = re.sub(pattern, replacement, text)
    return text


def tiny_version(recipe: str) -> str:
    """Return a recipe's TOML with the same name, a tiny model and a small corpus."""
    document = tomlkit.parse(recipe)
    for key, value in {**TINY, "corpus.source": "storyteller"}.items():
        if key != "name":
            section, field = key.split(".")
            document.setdefault(section, tomlkit.table())[field] = value
    return tomlkit.dumps(document)


def commands(text: str) -> list[str]:
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def run_command(command: str) -> None:
    words = shlex.split(shrunk(command), comments=True)
    while "=" in words[0]:  # environment variables, such as OMP_NUM_THREADS=1
        words.pop(0)
    program, *arguments = words
    if program == "aurelius":
        assert main(arguments) == 0, command
    elif program == "torchrun":
        words = [sys.executable, "-m", "torch.distributed.run", *arguments, "--device", "cpu"]
        subprocess.run(words, check=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")})
    elif program == "python" and arguments[0].startswith("benchmarks/"):
        known = subprocess.run(
            [sys.executable, ROOT / arguments[0], "--help"], capture_output=True, text=True, check=True
        ).stdout
        for option in (word for word in arguments[1:] if word.startswith("--")):
            assert option in known, f"{arguments[0]} has no {option}"
    elif program in ("make", "pip", "pytest", ".venv/bin/pre-commit"):
        known_targets = (ROOT / "Makefile").read_text()
        assert program != "make" or f"\n{arguments[0]}:" in known_targets, command
    else:
        raise AssertionError(f"{program} cannot be run here; mark the snippet as not run, and why")
