from pathlib import Path

import pytest

from aurelius.cli.main import main
from aurelius.corpus import build as corpus
from aurelius.corpus import storyteller
from aurelius.corpus.inspect import search
from aurelius.data.stories import read_stories
from aurelius.errors import CorpusError, RunError

STORIES = [
    *storyteller.stories(40, seed=9),
    "Too short.",
    "Es war einmal eine Katze, und sie lebte ganz allein im Wald.",
]


@pytest.fixture
def run(tiny, tmp_path: Path) -> Path:
    corpus.build(tiny.with_(**{"corpus.stories": 0}), tmp_path / "corpus", stories=STORIES)
    return tmp_path


def test_stories_are_found_by_their_words(run: Path):
    train = read_stories(run / "corpus", "train")
    assert [found.text for found in search(run)] == train
    word = train[3].split()[5].upper()
    assert [f.number for f in search(run, words=word)] == [
        number for number, text in enumerate(train) if word.lower() in text.lower()
    ]


def test_dropped_stories_are_found_by_their_reason(run: Path):
    assert {(f.text, f.reason) for f in search(run, "dropped")} == {
        ("Too short.", "under 10 words"),
        (STORIES[-1], "not English"),
    }
    assert [f.text for f in search(run, "dropped", reason="ENGLISH")] == [STORIES[-1]]
    assert not list(search(run, "dropped", words="dragon"))


def test_what_cannot_be_inspected_is_named(run: Path, tmp_path_factory: pytest.TempPathFactory):
    with pytest.raises(CorpusError, match=r"'test'.*train, valid, dropped"):
        search(run, "test")
    with pytest.raises(CorpusError, match=r"dropped for 'rude'.*under 10 words"):
        search(run, "dropped", reason="rude")
    with pytest.raises(RunError, match="has no corpus yet"):
        search(tmp_path_factory.mktemp("empty"))
    (run / "corpus" / "dropped.parquet").write_bytes(b"garbage")
    with pytest.raises(RunError, match=r"dropped\.parquet"):
        list(search(run, "dropped"))


def test_the_command(run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["corpus", "inspect", str(run), "--reason", "english"]) == 0
    shown = capsys.readouterr().out
    assert "--- dropped 1: not English" in shown or "--- dropped 0: not English" in shown
    assert "Es war einmal" in shown and "1 stories, and no more" in shown
    assert main(["corpus", "inspect", str(run), "--count", "2"]) == 0
    first = capsys.readouterr().out
    assert "--- train 1\n" in first and "2 stories; for the next ones: --from 2" in first
    assert main(["corpus", "inspect", str(run), "--count", "2", "--from", "2"]) == 0
    assert "--- train 2\n" in capsys.readouterr().out
    assert main(["corpus", "inspect", str(run), "--count", "-3"]) == 2
    assert "--count must be at least 1" in capsys.readouterr().err
