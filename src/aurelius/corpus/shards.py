"""Stories on their way through the stage, one batch at a time: repaired, dropped or kept, and signed.

A batch becomes one shard, and which one does not depend on who makes it; so several processes or machines
can share the work, and a finished shard is not made again. Rows are sorted by digest, whatever the order of
reading.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aurelius.config.settings import CorpusSettings
from aurelius.corpus.clean import drop_reason, repair, words_of
from aurelius.corpus.dedup.signatures import BANDS, bands, shingles, unique
from aurelius.files import atomic, read_json, write_json

BATCH = 10_000  # documents per shard
ROW_GROUP = 1000  # stories decoded at once while shards are merged; all shards are merged at once
EXAMPLES = 3
EXAMPLE_LENGTH = 1000  # characters
COUNTS = "counts.json"


@dataclass
class Counts:
    """What happened to the stories of one or more shards; examples are [before, after] or [story]."""

    read: int = 0
    kept: int = 0
    changed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[list[str]]] = field(default_factory=dict)
    lengths: Counter[int] = field(default_factory=Counter)  # in words, of what was read

    def add(self, other: "Counts") -> None:
        """Add the counts of another shard; which examples stay does not depend on the order of adding."""
        self.read += other.read
        self.kept += other.kept
        self.changed.update(other.changed)
        self.dropped.update(other.dropped)
        self.lengths.update(other.lengths)
        for name, examples in other.examples.items():
            for example in examples:
                self.add_example(name, *example)

    def add_example(self, name: str, *example: str) -> None:
        """Keep ``example`` if its hash is among the lowest of its name."""
        examples, shortened = self.examples.setdefault(name, []), [text[:EXAMPLE_LENGTH] for text in example]
        if shortened not in examples:
            examples.append(shortened)
            examples.sort(key=lambda e: digest(e[0].encode()))
            del examples[EXAMPLES:]

    def as_json(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return {
            "read": self.read,
            "kept": self.kept,
            "changed": dict(sorted(self.changed.items())),
            "dropped": dict(sorted(self.dropped.items())),
            "examples": dict(sorted(self.examples.items())),
            "lengths": {str(words): count for words, count in sorted(self.lengths.items())},
        }

    @property
    def median_words(self) -> int:
        """The median length of what was read, in words."""
        middle, seen = self.lengths.total() / 2, 0
        for words, count in sorted(self.lengths.items()):
            seen += count
            if seen >= middle:
                return words
        return 0

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> "Counts":
        """Read what `as_json` returned."""
        changed, dropped = Counter(table["changed"]), Counter(table["dropped"])
        lengths = Counter({int(words): count for words, count in table["lengths"].items()})
        return cls(table["read"], table["kept"], changed, dropped, table["examples"], lengths)


class Story(NamedTuple):
    """A story of a shard and its position there."""

    digest: bytes
    text: str
    shard: int
    row: int


def make(documents: Sequence[str], recipe: CorpusSettings, folder: Path) -> None:
    """Make the shard ``folder`` of a batch of documents; its counts are written last and mark it as done."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = Counts(read=len(documents))
    kept: list[tuple[bytes, bytes, str, list[bytes]]] = []
    dropped: list[tuple[str, str]] = []
    for document in documents:
        text, changed = repair(document, recipe.clean)
        words = words_of(text)
        counts.lengths[len(words)] += 1
        for name in changed:
            counts.changed[name] += 1
            counts.add_example(name, *_difference(document, text))
        if reason := drop_reason(text, words, recipe):
            counts.dropped[reason] += 1
            counts.add_example(reason, text)
            dropped.append((reason, text))
        else:
            kept.append((digest(text.encode()), digest(b" ".join(words)), text, words))
    kept.sort(key=lambda story: story[0])
    counts.kept = len(kept)
    flat, starts = shingles([words for *_, words in kept])
    table = pa.table(
        {
            "digest": pa.array([story[0] for story in kept], pa.binary(16)),
            "same": pa.array([story[1] for story in kept], pa.binary(16)),
            "text": pa.array([story[2] for story in kept], pa.string()),
            "bands": pa.array([row.tobytes() for row in bands(flat, starts)], pa.binary(8 * BANDS)),
            "shingles": pa.array(unique(flat, starts), pa.binary()),
        }
    )
    _write(table, folder / "kept.parquet")
    columns = {"reason": [r for r, _ in dropped], "text": [t for _, t in dropped]}
    _write(pa.table(columns, DROPPED), folder / "dropped.parquet")
    write_json(folder / COUNTS, counts.as_json())


DROPPED = pa.schema({"reason": pa.string(), "text": pa.string()})


def is_done(folder: Path) -> bool:
    """Whether the shard is complete."""
    return (folder / COUNTS).is_file()


def folders(work: Path) -> list[Path]:
    """Return the shards in ``work``, in order."""
    return sorted(path.parent for path in work.glob(f"*/{COUNTS}"))


def total_counts(shards: Sequence[Path]) -> Counts:
    """Add up what happened to the stories of all shards."""
    total = Counts()
    for shard in shards:
        total.add(Counts.from_json(read_json(shard / COUNTS)))
    return total


def kept_count(shard: Path) -> int:
    """Return how many stories of a shard cleaning kept."""
    return pq.read_metadata(shard / "kept.parquet").num_rows


def column(shards: Sequence[Path], name: str, width: int) -> NDArray[np.uint64]:
    """Return a binary column of all shards as [N, width] numbers that compare as its bytes do."""
    parts = [np.zeros((0, width), ">u8")]
    for shard in shards:
        values = pq.read_table(shard / "kept.parquet", columns=[name])[name].combine_chunks()
        parts.append(np.frombuffer(b"".join(values.to_pylist()), ">u8").reshape(-1, width))
    return np.concatenate(parts).astype(np.uint64)


def shingle_sets(shards: Sequence[Path], wanted: NDArray[np.bool_]) -> dict[int, NDArray[np.uint32]]:
    """Return the sorted shingles of the wanted stories, by their number among the stories of all shards."""
    sets, first = {}, 0
    for shard in shards:
        values = pq.read_table(shard / "kept.parquet", columns=["shingles"])["shingles"]
        for at in np.flatnonzero(wanted[first : first + len(values)]).tolist():
            sets[first + at] = np.frombuffer(values[at].as_py(), "<u4")
        first += len(values)
    return sets


def merged(shards: Sequence[Path]) -> Iterator[Story]:
    """Yield the stories of all shards in the order of their digests."""
    return merge(*(_stories(number, shard) for number, shard in enumerate(shards)))


def dropped(shards: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield the stories that cleaning dropped, each as (reason, text)."""
    for shard in shards:
        table = pq.read_table(shard / "dropped.parquet")
        yield from zip(table["reason"].to_pylist(), table["text"].to_pylist(), strict=True)


def digest(text: bytes) -> bytes:
    """Return 16 bytes that identify a text."""
    return hashlib.blake2b(text, digest_size=16).digest()


def _stories(number: int, shard: Path) -> Iterator[Story]:
    path, row = shard / "kept.parquet", 0
    for group in range(pq.read_metadata(path).num_row_groups):
        with pq.ParquetFile(path) as file:
            table = file.read_row_group(group, columns=["digest", "text"])
        for key, text in zip(table["digest"].to_pylist(), table["text"].to_pylist(), strict=True):
            yield Story(key, text, number, row)
            row += 1


def _write(table: pa.Table, path: Path) -> None:
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=ROW_GROUP)


def _difference(before: str, after: str, around: int = 30) -> tuple[str, str]:
    """Return the first place where two texts differ, with some context."""
    before = before.strip()
    at = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), len(after))
    cut = slice(max(0, at - around), at + around)
    return before[cut], after[cut]
