import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from aurelius.config.recipe import Recipe
from aurelius.corpus.readers.sources import size_of
from aurelius.pipeline.needs import needs, warning
from tests.corpus.readers.test_hub import FILES, HOME, hub  # noqa: F401

LARGE = "hf:someone/tales/large.txt"


def with_source(source: str | list[str]) -> Recipe:
    return Recipe.load("nano", {"corpus.source": source})


def test_the_size_of_local_files(tmp_path: Path):
    for name, size in {"a.txt": 5, "b.jsonl": 7, "c.parquet": 9, "a.txt.gz": 3}.items():
        (tmp_path / name).write_bytes(b"x" * size)
    assert size_of(with_source([str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl")]).corpus) == (12, 0)
    for unknown in ("c.parquet", "a.txt.gz", "missing.txt", "*.txt", ""):
        assert size_of(with_source(str(tmp_path / unknown)).corpus) == (None, 0)
    assert needs(with_source(str(tmp_path / "missing.txt"))).corpus is None


def test_a_file_on_the_hub_counts_as_download_until_it_is_here(hub: str, tmp_path: Path):  # noqa: F811
    size = len(FILES[HOME + "large.txt"])
    asked = f"""
from aurelius.config.settings import CorpusSettings
from aurelius.corpus.readers.hub import download
from aurelius.corpus.readers.sources import size_of
large = CorpusSettings(source="{LARGE}")
print(size_of(large, reachable=False), size_of(large))
download("{LARGE}")
print(size_of(large, reachable=False), size_of(CorpusSettings(source="hf:someone/tales/none.txt")))"""
    environment = os.environ | {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"(None, 0) ({size}, {size})", f"({size}, 0) (None, 0)"], done.stderr


def test_a_run_stays_within_what_was_said(tiny_run: Path):
    used = sum(path.stat().st_size for path in tiny_run.rglob("*") if path.is_file())
    kept = needs(Recipe.load(tiny_run)).kept
    assert kept and used < kept


def test_only_much_is_worth_saying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert warning(needs(Recipe.load("pico")), tmp_path / "runs" / "new") == ""
    large = needs(Recipe.load("large"), reachable=False)
    assert 0.81 * 2**30 < large.training < 2 * 2**30, "0.81 GiB were measured"
    large = replace(large, corpus=3 * 2**30, download=2 * 2**30)
    assert warning(large, tmp_path) == (
        "this run needs about 3.0 GiB of memory for the corpus and about 0.9 GiB for training; "
        "5.0 GiB of disk, 2.0 GiB of it for the download"
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**29))
    assert warning(large, tmp_path).endswith("; only 0.5 GiB of disk space is free")
