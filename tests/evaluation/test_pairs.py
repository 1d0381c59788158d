import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, sem
from torch import Tensor

from aurelius.errors import CorpusError
from aurelius.evaluation.intervals import Share
from aurelius.evaluation.lm_eval_tasks import write_tasks
from aurelius.evaluation.pairs import Paradigm, Style, measure_pairs, presented, read_paradigms
from aurelius.inference.open_model import open_model
from aurelius.inference.prompt_end import Vocabulary
from aurelius.inference.sampling import Sampling
from tests.conftest import shared

PYTHON = Path(__file__).parents[2] / ".venv-4.57/bin/python"
PARADIGMS = ("agreement_determiner_noun-between_neighbors", "quantifiers-superlative")


class Bytes:
    """A language model of bytes, whose logits are a function of the ids."""

    def __init__(self, logits: Callable[[Tensor], Tensor], context: int = 2048):
        self.name, self.context, self.vocab_size, self.parameters = "bytes", context, 258, 0
        self.prefix, self.end, self.unknown, self.suppressed = [256], 257, None, [256]
        self.sampling: Sampling = Sampling()
        self.vocabulary: Vocabulary | None = None
        self._logits = logits

    def encode(self, text: str, parse_special: bool = False) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(i for i in ids if i < 256).decode(errors="replace")

    def logits(self, ids: Tensor) -> Tensor:
        return self._logits(ids)

    def new_cache(self) -> Any:
        raise NotImplementedError

    def next_token_logits(self, ids: list[int], cache: Any) -> np.ndarray:
        raise NotImplementedError

    def rewind(self, cache: Any, length: int) -> None:
        raise NotImplementedError


def likes(letter: str) -> Bytes:
    """Return a model that finds one letter likelier than all others, whatever comes before."""
    liked = torch.zeros(258)
    liked[ord(letter)] = 1.0
    return Bytes(lambda ids: liked.expand(*ids.shape, 258))


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_a_file_is_a_paradigm_of_wrong_and_right_lines(tmp_path: Path):
    write(tmp_path, verbs="he go .\nhe goes .\n they goes .\nthey go . \n", nouns="a cats\na cat")
    (tmp_path / "README.md").write_text("not pairs")
    nouns = Paradigm("nouns", [("a cats", "a cat")])
    verbs = [("he go .", "he goes ."), ("they goes .", "they go .")]
    assert read_paradigms(tmp_path) == [nouns, Paradigm("verbs", verbs)]
    assert read_paradigms(tmp_path, limit=1) == [nouns, Paradigm("verbs", verbs[:1])]


@pytest.mark.parametrize(
    "text, message",
    [
        ("he go .\nhe goes .\nthey go .\n", "has 3 lines; pairs are two lines each, the wrong one first"),
        ("", "has 0 lines"),
        ("a\nb\n\nd\n", "lines 3 and 4 are not both sentences"),
        ("a\nb\nc\n  \n", "lines 3 and 4 are not both sentences"),
        ("a\nb\nc\nd\nhe goes .\n he goes . ", "lines 5 and 6 are the same sentence"),
    ],
)
def test_a_file_that_is_not_pairs_is_refused(tmp_path: Path, text: str, message: str):
    with pytest.raises(CorpusError, match=message) as error:
        read_paradigms(write(tmp_path, bad=text))
    assert str(tmp_path / "bad.txt") in str(error.value)


def test_a_folder_without_pairs_is_refused(tmp_path: Path):
    file = tmp_path / "verbs.md"
    file.write_text("a\nb\n")
    for folder in (tmp_path, tmp_path / "none", file):
        with pytest.raises(CorpusError, match=f"{folder} holds no minimal pairs"):
            read_paradigms(folder)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path):
    (tmp_path / "latin.txt").write_bytes("a caf\xe9\na cat\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"latin.txt is not UTF-8 \(byte 5\)"):
        read_paradigms(tmp_path)


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("look at this purple thing .", "Look at this purple thing."),
        ("where does the horse go ?", "Where does the horse go?"),
        ("Mark will not want himself .", "Mark will not want himself."),
        ("well , who did it , then ?", "Well, who did it, then?"),
        ("he paid $ .50 for it .", "He paid $ .50 for it."),
        ("no mark", "No mark"),
    ],
)
def test_a_line_is_presented_as_a_story_would_write_it(line: str, sentence: str):
    assert presented(line, "sentence") == sentence
    assert presented(line, "as-is") == line


def test_all_of_zorro_is_presented_as_sentences():
    paradigms = read_paradigms(shared("data/zorro"))
    assert len(paradigms) == 23 and all(len(each.pairs) == 2000 for each in paradigms)
    for each in paradigms:
        for line in (line for pair in each.pairs for line in pair):
            shown = presented(line, "sentence")
            assert re.fullmatch(r"[A-Z][^?!]*[^\s.?!][.?!]", shown), shown
            assert shown.lower().replace(" ", "") == line.lower().replace(" ", "")


@pytest.mark.parametrize("style", ["sentence", "as-is"])
def test_the_likelier_sentence_is_the_answer(style: Style):
    letters = Paradigm("letters", [("he go", "he gz"), ("they goz", "they gzz"), ("we zz", "we gz")])
    lengths = Paradigm("lengths", [("he goes", "he go"), ("they go", "they gozz")])
    found = measure_pairs(likes("z"), [letters, lengths], style)
    assert found.answers == {"letters": Share(2, 3), "lengths": Share(1, 2)}, "every letter more costs nats"


def test_equal_scores_are_wrong_answers():
    pairs = [("abc", "acb"), ("acb", "abc"), ("abc", "abz")]
    found = measure_pairs(likes("z"), [Paradigm("letters", pairs)], "as-is")
    assert found.answers == {"letters": Share(1, 3)}


def test_every_paradigm_counts_the_same():
    easy = Paradigm("easy", [("ab", "az")] * 2)
    hard = Paradigm("hard", [("az", "ab")] * 30)
    half = Paradigm("half", [("az", "ab"), ("ab", "az")])
    found = measure_pairs(likes("z"), [easy, hard, half])
    assert found.mean == 0.5
    figures = found.as_json()
    assert figures["standard_error"] == pytest.approx(sem([1, 0, 0.5]), abs=1e-4)
    assert list(figures["paradigms"]) == ["easy", "hard", "half"]
    assert figures["paradigms"]["half"] == Share(1, 2).as_json()
    assert measure_pairs(likes("z"), [easy]).as_json()["standard_error"] == 0


@given(st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_is_wilsons(case: tuple[int, int]):
    expected = binomtest(*case).proportion_ci(method="wilson")
    assert Share(*case).interval == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_a_share_as_json():
    # Golden: scipy.stats.binomtest(7, 10).proportion_ci(method="wilson").
    assert Share(7, 10).as_json() == {"share": 0.7, "low": 0.3968, "high": 0.8922, "of": 10}


def test_tasks_hold_the_pairs_as_they_are_presented(tiny_run: Path, tmp_path: Path):
    model, out = open_model(str(tiny_run), "cpu"), tmp_path / "tasks"
    paradigms = [Paradigm("Verbs-he/they", [("he go .", "he goes .")]), Paradigm("nouns", [("a é", "an é")])]
    write_tasks(model, tiny_run, paradigms, "sentence", "zorro", out)
    group = yaml.safe_load((out / "zorro.yaml").read_text())
    assert group["task"] == ["zorro_Verbs-he_they", "zorro_nouns"]
    tasks = [yaml.safe_load((out / f"{name}.yaml").read_text()) for name in group["task"]]
    rows = [Path(task["dataset_kwargs"]["data_files"]["test"]).read_text() for task in tasks]
    assert [json.loads(row) for row in rows] == [
        {"bad": "He go.", "good": "He goes."},
        {"bad": "A é", "good": "An é"},
    ]
    assert {task["doc_to_text"] for task in tasks} == {"<sink><s>"}


@pytest.mark.long
@pytest.mark.skipif(
    not (PYTHON.parent / "lm_eval").exists(), reason="no lm-eval in .venv-4.57: make test-long makes it"
)
@pytest.mark.parametrize("which, style", [("ours", "sentence"), ("stories260K", "as-is")])
def test_lm_eval_agrees(which: str, style: Style, request: pytest.FixtureRequest, tmp_path: Path):
    ours = which == "ours"
    folder = request.getfixturevalue("story_run") / "export/huggingface" if ours else shared("peers") / which
    for name in PARADIGMS:
        lines = (shared("data/zorro") / f"{name}.txt").read_text().splitlines(keepends=True)
        (tmp_path / f"{name}.txt").write_text("".join(lines[:200]))
    model, paradigms = open_model(str(folder), "cpu"), read_paradigms(tmp_path)
    expected = measure_pairs(model, paradigms, style)
    assert all(0.2 < share.value < 1 for share in expected.answers.values()), "agreeing on that would be easy"

    command = write_tasks(model, folder, paradigms, style, "some", tmp_path / "tasks")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "home")}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [PYTHON, "-m", *command, "--output_path", tmp_path / "out"],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (report,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(report.read_text())["results"]
    found = {name: results["some_" + re.sub(r"[^\w-]+", "_", name)]["acc,none"] for name in PARADIGMS}
    assert found == {name: share.value for name, share in expected.answers.items()}
    assert results["some"]["acc,none"] == pytest.approx(expected.mean)
