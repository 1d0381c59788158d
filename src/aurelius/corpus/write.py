"""The last pass of the corpus stage: write the stories where they belong, and report on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from aurelius.corpus import shards, split
from aurelius.corpus.report import Statistics, page
from aurelius.corpus.split import Fates
from aurelius.files import write_bytes, write_json
from aurelius.progress import Progress

ROWS = 5000  # stories written at once
HELD_OUT = "held out, "  # prefix of the reasons why stories that were to be held out were dropped
DROPPED = pa.schema([("reason", pa.string()), ("text", pa.string()), ("similarity", pa.float32())])
TEXT = pa.schema([("text", pa.string())])


class _Writer:
    """A Parquet file that is written some thousand rows at a time."""

    def __init__(self, path: Path, schema: pa.Schema, statistics: Statistics | None = None):
        path.unlink(missing_ok=True)  # it may be linked from another run, which must keep its content
        self.file = pq.ParquetWriter(path, schema, compression="zstd")
        self.schema, self.statistics = schema, statistics
        self.rows: list[tuple[Any, ...]] = []

    def add(self, *row: Any) -> None:
        self.rows.append(row)
        if len(self.rows) == ROWS:
            self.flush()

    def flush(self) -> None:
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.schema)
        self.file.write_table(pa.table(dict(zip(self.schema.names, columns, strict=True)), self.schema))
        if self.statistics and self.rows:
            self.statistics.add(columns[0])
        self.rows = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self.file.close()


def corpus(
    out: Path,
    kept: Sequence[Path],
    held_out: Sequence[Path],
    fates: Fates,
    counts: shards.Counts,
    sources: Sequence[tuple[str, str]],
    progress: Progress,
) -> None:
    """Write the corpus folder from the shards of the stories and of those held out.

    ``sources`` are the (name, format) of the source and, if there is one, of the held-out stories.
    """
    train, valid = Statistics(), Statistics()
    in_pairs: dict[int, str] = {}
    with (
        progress.task("corpus: writing stories", len(fates.fate), "stories") as task,
        _Writer(out / "train.parquet", TEXT, train) as to_train,
        _Writer(out / "valid.parquet", TEXT, valid) as to_valid,
        _Writer(out / "dropped.parquet", DROPPED) as to_dropped,
    ):
        for story in shards.merged([*kept, *held_out]):
            number = fates.first[story.shard] + story.row
            fate = int(fates.fate[number])
            if fate == split.TRAIN:
                to_train.add(story.text)
            elif fate == split.VALID:
                to_valid.add(story.text)
            else:
                reason = split.REASONS[fate]
                counts.dropped[reason] += 1
                if fate != split.NOT_SAMPLED:  # those are fine, and may be most of a corpus
                    similarity = float(fates.similarity[number]) if fate == split.NEAR else None
                    to_dropped.add(reason, story.text, similarity)
                    counts.add_example(reason, story.text)
            if number in fates.pairs:
                in_pairs[number] = story.text
            task.advance()
        for side, prefix in ((kept, ""), (held_out, HELD_OUT)):
            for reason, text in shards.dropped(side):
                to_dropped.add(prefix + reason, text, None)
    report = {
        "source": sources[0][0],
        "format": sources[0][1],
        "held_out": " ".join(sources[1]) if len(sources) > 1 else "a share of the same",
        "stories_read": counts.read,
        "changed": dict(sorted(counts.changed.items())),
        "dropped": dict(sorted(counts.dropped.items())),
        "duplicates": fates.figures,
        "examples": dict(sorted(counts.examples.items())),
        "near_pairs": [
            {
                "dropped": in_pairs[dropped],
                "kept": in_pairs[kept],
                "similarity": round(float(fates.similarity[dropped]), 3),
            }
            for dropped, kept in zip(fates.pairs[::2], fates.pairs[1::2], strict=True)
        ],
        "train": train.as_json(),
        "valid": valid.as_json(),
    }
    write_json(out / "report.json", report)
    write_bytes(out / "report.html", page(report).encode())
