import json

import pytest

from aurelius import corpus
from aurelius.errors import CorpusError, RunError


def test_build_counts_and_reads_back(tiny, tmp_path):
    assert corpus.build(tiny, tmp_path) == []
    train, valid = corpus.load(tmp_path, "train"), corpus.load(tmp_path, "valid")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["stories_read"] == 400 == len(train) + len(valid) + sum(report["dropped"].values())
    assert report["train"]["bytes"] == sum(len(t.encode()) for t in train)
    assert report["valid"]["words"] == sum(len(t.split()) for t in valid)


def test_one_story_is_not_a_corpus(tiny, tmp_path):
    (tmp_path / "one.txt").write_text("Once there was a story and it was the only one there was.")
    recipe = tiny.with_(**{"corpus.source": str(tmp_path / "one.txt")})
    with pytest.raises(CorpusError, match="1 usable stories of 1 read"):
        corpus.build(recipe, tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_a_damaged_corpus_is_named(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"garbage")
    with pytest.raises(RunError, match=r"train\.parquet"):
        corpus.load(tmp_path, "train")
