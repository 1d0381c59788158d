import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aurelius.config.recipe import Recipe
from aurelius.corpus import build as corpus
from aurelius.corpus import shards, storyteller
from aurelius.data.stories import read_stories
from aurelius.errors import (
    CorpusError,
    MemoryExhausted,
    RunError,
    StorageError,
)
from aurelius.files import write_json
from aurelius.pipeline import run as pipeline

STORIES = list(storyteller.stories(400, seed=5))


def build(tiny: Recipe, folder: Path, texts: list[str], workers: int = 1, **options: Any) -> dict[str, Any]:
    recipe = tiny.with_(**{f"corpus.{key}": value for key, value in ({"stories": 0} | options).items()})
    corpus.build(recipe, folder, workers=workers, stories=texts)
    return json.loads((folder / "report.json").read_text())


def sides(folder: Path) -> tuple[list[str], list[str]]:
    return read_stories(folder, "train"), read_stories(folder, "valid")


def test_build_counts_and_reads_back(tiny, tmp_path):
    assert corpus.build(tiny, tmp_path) == []
    train, valid = sides(tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["stories_read"] == 400 == len(train) + len(valid) + sum(report["dropped"].values())
    assert report["train"]["bytes"] == sum(len(t.encode()) for t in train)
    assert report["valid"]["words"] == sum(len(t.split()) for t in valid)
    assert sum(report["train"]["words_per_story"].values()) == len(train)
    assert report["train"]["characters"]["e"] == "".join(train).count("e")
    assert not (tmp_path / "work").exists()


def test_nothing_is_lost_and_every_drop_has_its_reason_count_and_example(tiny, tmp_path):
    swapped = STORIES[7].replace(" the ", " that ", 1)
    broken = [STORIES[3], STORIES[4].upper(), swapped, "", "Too short.", STORIES[5][:-1], "x" + STORIES[6]]
    report = build(tiny, tmp_path, [*STORIES, *broken])
    assert report["dropped"] == {
        "exact duplicate": 2,
        "near duplicate": 1,
        "empty": 1,
        "under 10 words": 1,
        "truncated at the end": 1,
        "truncated at the beginning": 1,
    }
    dropped = pq.read_table(tmp_path / "dropped.parquet").to_pylist()
    assert {row["reason"] for row in dropped} == set(report["dropped"]) == set(report["examples"])
    (near,) = (row for row in dropped if row["reason"] == "near duplicate")
    assert near["text"] in (STORIES[7], swapped) and near["similarity"] > 0.9
    assert {report["near_pairs"][0][side] for side in ("kept", "dropped")} == {STORIES[7], swapped}
    train, valid = sides(tmp_path)
    read = sorted(text.strip() for text in [*STORIES, *broken])
    assert sorted([*train, *valid, *(row["text"] for row in dropped)]) == read
    page = (tmp_path / "report.html").read_text()
    assert "near duplicate" in page and "Too short." in page


def test_neither_order_nor_workers_nor_shards_change_a_byte(tiny, tmp_path, monkeypatch):
    stories = [*STORIES, *(text.replace(" a ", " one ", 1) for text in STORIES[:50])]
    build(tiny, tmp_path / "a", stories, stories=300)
    shuffled = random.Random(0).sample(stories, len(stories))
    monkeypatch.setattr(shards, "BATCH", 70)
    build(tiny, tmp_path / "b", shuffled, stories=300)
    build(tiny, tmp_path / "c", shuffled[::-1], workers=2, stories=300)
    for name in ("train.parquet", "valid.parquet", "report.json", "report.html"):
        content = (tmp_path / "a" / name).read_bytes()
        assert (tmp_path / "b" / name).read_bytes() == content == (tmp_path / "c" / name).read_bytes()


def test_a_sample_is_uniform_and_nested_in_larger_ones(tiny, tmp_path):
    report = build(tiny, tmp_path / "a", STORIES, stories=100)
    small, large = set(), set()
    for text in sides(tmp_path / "a"):
        small.update(text)
    build(tiny, tmp_path / "b", STORIES, stories=200)
    for text in sides(tmp_path / "b"):
        large.update(text)
    assert (len(small), len(large)) == (100, 200) and small < large
    assert report["dropped"]["left out of the sample"] == 300
    first = [text in small for text in STORIES]
    assert 25 < sum(first[:200]) < 75, "not the first ones"


def test_a_story_keeps_its_side_whatever_else_is_read(tiny, tmp_path):
    build(tiny, tmp_path / "whole", STORIES, valid_fraction=0.2)
    build(tiny, tmp_path / "half", STORIES[::2], valid_fraction=0.2)
    build(tiny, tmp_path / "other", STORIES, valid_fraction=0.2, seed=1)
    (train, valid), (few, held), (_, other) = (sides(tmp_path / name) for name in ("whole", "half", "other"))
    assert set(few) <= set(train) and set(held) <= set(valid)
    assert 50 < len(valid) < 110, "about a fifth"
    assert set(other) != set(valid)


@pytest.mark.parametrize("count", [2, 3])
def test_no_side_is_empty_with_two_stories(tiny, tmp_path, count: int):
    for number in range(8):
        build(
            tiny,
            tmp_path / str(number),
            STORIES[number : number + count],
            valid_fraction=0.01 + 0.06 * number,
        )
        assert all(sides(tmp_path / str(number)))


def test_near_duplicates_stay_together(tiny, tmp_path):
    copies = [text.replace(" a ", " one ", 1) for text in STORIES]
    build(tiny, tmp_path, [*STORIES, *copies], near_duplicates="together", valid_fraction=0.3)
    train, valid = map(set, sides(tmp_path))
    assert len(train | valid) == len(set(STORIES) | set(copies))
    assert all((a in train) == (b in train) for a, b in zip(STORIES, copies, strict=True))
    build(tiny, tmp_path / "apart", [*STORIES, *copies], near_duplicates="keep", valid_fraction=0.3)
    train = set(read_stories(tmp_path / "apart", "train"))
    assert any((a in train) != (b in train) for a, b in zip(STORIES, copies, strict=True))


def test_overlap_with_held_out_stories_is_reported_and_removed_on_request(tiny, tmp_path):
    held = [*STORIES[:20], *(text.replace(" a ", " one ", 1) for text in STORIES[20:50]), *STORIES[390:]]
    write_json(tmp_path / "held.json", held)
    options: dict[str, Any] = {"valid_source": str(tmp_path / "held.json")}
    report = build(tiny, tmp_path / "a", STORIES[:380], **options)
    changed = sum(" a " in text for text in STORIES[20:50])
    assert report["duplicates"]["overlap_exact"] == 20 + (30 - changed)
    assert report["duplicates"]["overlap_near"] == changed
    assert len(read_stories(tmp_path / "a", "train")) == 380
    assert sorted(read_stories(tmp_path / "a", "valid")) == sorted(held)
    report = build(tiny, tmp_path / "b", STORIES[:380], remove_overlap=True, **options)
    assert report["dropped"] == {"among the held-out stories": 50}
    assert set(read_stories(tmp_path / "b", "train")) == set(STORIES[50:380])


def test_a_stopped_stage_resumes_with_its_shards(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BATCH", 100)
    recipe = tiny.with_(**{"corpus.stories": 400})
    made: list[str] = []

    def interrupted(documents, options, folder):
        made.append(folder.name)
        if len(made) == 3:
            raise KeyboardInterrupt
        make(documents, options, folder)

    make = shards.make
    monkeypatch.setattr(shards, "make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        corpus.build(recipe, tmp_path)
    corpus.build(recipe, tmp_path)
    assert made == ["000000", "000001", "000002", "000002", "000003"]
    corpus.build(recipe, tmp_path / "whole")
    for name in ("train.parquet", "report.json"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("delay", [0.0, 0.5, 2.0])  # while the workers start, too
def test_ctrl_c_says_one_line(tmp_path: Path, delay: float):
    command = [sys.executable, "-m", "aurelius", "corpus", "nano", "--out", str(tmp_path), "--workers", "2"]
    command += ["--set", "corpus.stories=300000"]  # not done before it is stopped
    work = tmp_path / "corpus" / "work"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not work.is_dir() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
        assert process.stderr is not None
        assert process.stderr.read().splitlines() == ["aurelius: interrupted; run the same command to resume"]
    assert process.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_stage(tmp_path: Path, number: signal.Signals):
    command = [sys.executable, "-m", "aurelius", "corpus", "nano", "--out", str(tmp_path), "--workers", "2"]
    work = tmp_path / "corpus" / "work"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while not any(work.glob("*/*")) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        assert process.stdout is not None
        said = process.stdout.read()  # ends when no process is left that could write to it
    assert process.returncode == (143 if number == signal.SIGTERM else -number)
    assert ("interrupted; run the same command" in said) == (number == signal.SIGTERM)


def test_a_killed_worker_is_reported(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "make", _die)
    with pytest.raises(MemoryExhausted, match="again, with --workers 1"):
        build(tiny, tmp_path, STORIES, workers=2)


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_dropped_held_out_stories_are_reported(tiny, tmp_path):
    write_json(tmp_path / "held.json", [*STORIES[:3], "Too short."])
    report = build(tiny, tmp_path / "a", STORIES[3:], valid_source=str(tmp_path / "held.json"))
    assert report["dropped"]["held out, under 10 words"] == 1 and report["valid"]["stories"] == 3
    dropped = pq.read_table(tmp_path / "a" / "dropped.parquet").to_pylist()
    assert [row["text"] for row in dropped if row["reason"].startswith("held out")] == ["Too short."]
    write_json(tmp_path / "held.json", ["Too short."])
    with pytest.raises(
        CorpusError, match=r"held\.json holds no usable story to hold out \(1 held out, under"
    ):
        build(tiny, tmp_path / "b", STORIES[3:], valid_source=str(tmp_path / "held.json"))


def test_shards_of_another_recipe_are_not_reused(tiny, tmp_path, monkeypatch):
    make = shards.make
    monkeypatch.setattr(shards, "make", lambda *a: (make(*a), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        corpus.build(tiny, tmp_path)
    monkeypatch.setattr(shards, "make", make)
    corpus.build(tiny.with_(**{"corpus.seed": 1}), tmp_path)
    assert set(read_stories(tmp_path, "train")) <= set(storyteller.stories(400, seed=1))


@pytest.mark.long
def test_a_full_disk_stops_cleanly_and_the_stage_resumes(tiny, tmp_path, small_disk, monkeypatch):
    disk, enlarge = small_disk
    monkeypatch.setattr(shards, "BATCH", 500)
    recipe = tiny.with_(**{"corpus.stories": 8000})
    with pytest.raises(StorageError, match="free some space"):
        pipeline.run(recipe, disk / "run", until="corpus")
    made = len(shards.folders(disk / "run" / "corpus" / "work" / "stories"))
    assert 0 < made < 16
    enlarge()
    make, again = shards.make, []
    monkeypatch.setattr(shards, "make", lambda *a: (again.append(a), make(*a)))
    pipeline.run(disk / "run", until="corpus")
    assert len(again) == 16 - made, "what was made is kept"
    pipeline.run(recipe, tmp_path / "straight", until="corpus")
    for name in ("train.parquet", "report.json"):
        content = (disk / "run" / "corpus" / name).read_bytes()
        assert content == (tmp_path / "straight" / "corpus" / name).read_bytes()


def test_one_story_is_not_a_corpus(tiny, tmp_path):
    (tmp_path / "one.txt").write_text("Once there was a story and it was the only one there was.")
    recipe = tiny.with_(**{"corpus.source": str(tmp_path / "one.txt")})
    with pytest.raises(CorpusError, match="1 usable stories of 1 read"):
        corpus.build(recipe, tmp_path / "corpus")


def test_a_damaged_corpus_is_named(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"garbage")
    with pytest.raises(RunError, match=r"train\.parquet"):
        read_stories(tmp_path, "train")


def test_pandas_objects_and_paths(tiny, tmp_path):
    pandas = pytest.importorskip("pandas")
    corpus.build(tiny, tmp_path / "list", stories=STORIES)
    corpus.build(tiny, tmp_path / "series", stories=pandas.Series(STORIES))
    assert sides(tmp_path / "series") == sides(tmp_path / "list")
    with pytest.raises(CorpusError, match=r"pass the column with the texts, such as table\['text'\]"):
        corpus.build(tiny, tmp_path / "table", stories=pandas.DataFrame({"text": STORIES}))
    with pytest.raises(CorpusError, match="row 1 of the stories passed is NaN, a missing value"):
        corpus.build(tiny, tmp_path / "nan", stories=pandas.Series(["One.", float("nan")]))
    with pytest.raises(CorpusError, match="one text or path; pass a list"):
        corpus.build(tiny, tmp_path / "path", stories=tmp_path / "a.txt")  # pyright: ignore[reportArgumentType]


def test_a_folder_that_save_to_disk_wrote_is_named(tiny, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": STORIES}).save_to_disk(tmp_path / "saved")
    with pytest.raises(CorpusError, match="is a dataset that save_to_disk wrote"):
        corpus.build(tiny.with_(**{"corpus.source": str(tmp_path / "saved")}), tmp_path / "c")
    corpus.build(tiny, tmp_path / "loaded", stories=datasets.load_from_disk(tmp_path / "saved"))
    assert sides(tmp_path / "loaded")[0]


def test_datasets_objects(tiny, tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": STORIES, "name": ["a"] * len(STORIES)})
    given = {"list": STORIES, "rows": rows, "column": rows["text"], "streamed": rows.to_iterable_dataset()}
    found = {}
    for name, stories in given.items():
        corpus.build(tiny, tmp_path / name, stories=stories)
        found[name] = sides(tmp_path / name)
    assert all(of == found["list"] for of in found.values()) and found["list"][0]
    with pytest.raises(CorpusError, match=r"row 0 of the stories .* 'story', but keys text, name"):
        corpus.build(tiny.with_(**{"corpus.column": "story"}), tmp_path / "column", stories=rows)
    with pytest.raises(CorpusError, match=r"stories holds train, test; pass one of them"):
        corpus.build(tiny, tmp_path / "splits", stories=rows.train_test_split(0.1))


@pytest.mark.parametrize(
    "stories, message", [("A story.", "one text"), ([b"A story."], "row 0 .* holds bytes")]
)
def test_what_is_passed_is_not_stories(tiny, tmp_path, stories, message):
    with pytest.raises(CorpusError, match=message):
        corpus.build(tiny, tmp_path, stories=stories)
