from pathlib import Path

import pytest

from aurelius import datatrove as cluster
from aurelius.corpus import shards
from aurelius.errors import RunError
from aurelius.pipeline import run as pipeline

pytest.importorskip("datatrove")


def test_two_workers_make_the_corpus_that_one_process_makes(tiny, tmp_path: Path, monkeypatch):
    from datatrove.executor import LocalPipelineExecutor

    monkeypatch.setattr(shards, "BATCH", 50)
    step = cluster.clean(tiny, tmp_path / "many")
    made = tmp_path / "many" / "corpus" / "work" / "stories"
    LocalPipelineExecutor(
        [step], tasks=3, workers=2, start_method="fork", logging_dir=str(tmp_path / "logs")
    ).run()
    assert len(shards.folders(made)) == 400 // 50
    make = shards.make
    monkeypatch.setattr(shards, "make", lambda *_: pytest.fail("a shard was made again"))
    pipeline.run(tmp_path / "many", until="corpus")
    monkeypatch.setattr(shards, "make", make)
    pipeline.run(tiny, tmp_path / "one", until="corpus")
    for name in ("train.parquet", "valid.parquet", "dropped.parquet", "report.json"):
        assert (tmp_path / "many" / "corpus" / name).read_bytes() == (
            tmp_path / "one" / "corpus" / name
        ).read_bytes()


def test_another_recipes_folder_is_refused(tiny, tmp_path: Path):
    pipeline.run(tiny, tmp_path / "run", until="corpus")
    with pytest.raises(RunError, match="made with a different recipe"):
        cluster.clean(tiny, tmp_path / "run", {"corpus.seed": 1})
