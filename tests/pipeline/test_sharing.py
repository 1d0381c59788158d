"""Runs next to each other share what they would make alike; neither depends on the other afterwards."""

import shutil
from pathlib import Path

import pytest

from aurelius.config.recipe import Recipe
from aurelius.pipeline import sharing
from aurelius.pipeline.manifest import Manifest
from aurelius.pipeline.run import run
from aurelius.progress import Progress

SHARED = ("corpus", "tokenizer", "tokens")


class Notes(Progress):
    def __init__(self):
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def first(tiny: Recipe, tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "first"))


def files(run_folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(run_folder).as_posix(): path.read_bytes()
        for stage in SHARED
        for path in (run_folder / stage).rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def share(tiny: Recipe, out: Path, **options) -> Notes:
    progress = Notes()
    run(tiny, out, until="tokens", device="cpu", progress=progress, **options)
    progress.notes = [note for note in progress.notes if "shared with it" in note]
    return progress


def test_runs_that_differ_only_in_training_share_everything_before(tiny: Recipe, first: Path, tmp_path: Path):
    progress = share(tiny, tmp_path / "second", overrides={"training.seed": 7, "training.steps": 5})
    assert [note.split(":")[0] for note in progress.notes] == list(SHARED)
    assert files(tmp_path / "second") == files(first)
    linked = (tmp_path / "second/corpus/train.parquet").stat()
    assert linked.st_ino == (first / "corpus/train.parquet").stat().st_ino, "a link, not a copy"
    assert run(tmp_path / "second", until="tokens", verify=True).done == []


def test_deleting_either_run_leaves_the_other_whole(tiny: Recipe, first: Path, tmp_path: Path):
    expected = files(first)
    share(tiny, tmp_path / "second")
    shutil.rmtree(first)
    assert files(tmp_path / "second") == expected
    assert run(tmp_path / "second", until="tokens", verify=True).done == []


@pytest.mark.parametrize("updated", ["first", "second"])
def test_updating_either_run_leaves_the_other_whole(tiny: Recipe, first: Path, tmp_path: Path, updated: str):
    expected = files(first)
    share(tiny, tmp_path / "second")
    other = {"first": "second", "second": "first"}[updated]
    changed = run(tmp_path / updated, overrides={"corpus.seed": 5}, update=True, until="tokens")
    assert changed.done == list(SHARED) and files(tmp_path / updated) != expected
    assert files(tmp_path / other) == expected
    assert run(tmp_path / other, until="tokens", verify=True).done == []


def test_a_corpus_made_again_in_place_does_not_write_through_a_link(
    tiny: Recipe, first: Path, tmp_path: Path
):
    expected = files(first)
    share(tiny, tmp_path / "second")
    (tmp_path / "second/corpus/manifest.json").unlink()
    run(tmp_path / "second", until="corpus", fresh=True)
    assert files(first) == expected and run(first, until="tokens", verify=True).done == []
    linked = (tmp_path / "second/corpus/train.parquet").stat()
    assert linked.st_ino != (first / "corpus/train.parquet").stat().st_ino


def test_fresh_and_other_recipes_share_nothing(tiny: Recipe, first: Path, tmp_path: Path):
    assert share(tiny, tmp_path / "fresh", fresh=True).notes == []
    notes = share(tiny, tmp_path / "other", overrides={"tokenizer.vocab_size": 430}).notes
    assert [note.split(":")[0] for note in notes] == ["corpus"]


def test_damaged_or_foreign_stages_are_not_shared(tiny: Recipe, first: Path, tmp_path: Path):
    (first / "corpus/train.parquet").write_bytes(b"damaged")
    notes = share(tiny, tmp_path / "second").notes
    assert [note.split(":")[0] for note in notes] == ["tokenizer", "tokens"], "made from the same corpus"
    given = [f"Once there was a cat and its name was number {n}, and it was happy." for n in range(300)]
    run(tiny, tmp_path / "python/one", until="corpus", stories=given)
    assert share(tiny, tmp_path / "python/two").notes == [], "its stories came from Python"


def test_where_links_are_impossible_files_are_copied(
    tiny: Recipe, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(sharing.os, "link", refuse)
    assert len(share(tiny, tmp_path / "second").notes) == 3
    assert files(tmp_path / "second") == files(first)
    assert Manifest.read(tmp_path / "second/corpus") is not None
    assert run(tmp_path / "second", until="tokens", verify=True).done == []
