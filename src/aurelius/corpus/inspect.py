"""Look into a corpus folder: its stories, and those that were dropped, by text and reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aurelius.corpus.build import Texts
from aurelius.errors import CorpusError, RunError, first_line
from aurelius.files import read_json

SIDES = ("train", "valid", "dropped")


@dataclass(frozen=True)
class Found:
    """A story, its number on its side, and, if it was dropped, why."""

    side: str
    number: int
    text: str
    reason: str = ""
    similarity: float | None = None


def search(run: Path, side: str = "train", words: str = "", reason: str = "") -> Iterator[Found]:
    """Yield the stories of one side that hold ``words``, in upper or lower case.

    Args:
        run: a run folder.
        side: train, valid or dropped.
        words: what the text must hold; all do if it is empty.
        reason: of dropped stories, what the reason must hold.

    Raises:
        CorpusError: there is no such side, or no such reason.
        RunError: the corpus is not there, or damaged.
    """
    if side not in SIDES:
        raise CorpusError(f"there is no side '{side}' of a corpus; it has {', '.join(SIDES)}")
    folder = run / "corpus"
    if not (folder / "report.json").is_file():
        raise RunError(f"{run} holds no corpus; aurelius corpus makes one")
    reasons = read_json(folder / "report.json")["dropped"]
    if reason and not any(reason.lower() in known.lower() for known in reasons):
        raise CorpusError(
            f"no story was dropped for '{reason}'; the reasons are: {', '.join(reasons) or 'none'}"
        )
    return (found for found in _stories(folder, side) if _fits(found, words.lower(), reason.lower()))


def _fits(found: Found, words: str, reason: str) -> bool:
    return words in found.text.lower() and reason in found.reason.lower()


def _stories(folder: Path, side: str) -> Iterator[Found]:
    if side != "dropped":
        for number, text in enumerate(Texts(folder, side)):
            yield Found(side, number, text)
        return
    path, number = folder / "dropped.parquet", 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1000):
                for row in batch.to_pylist():
                    yield Found(side, number, row["text"], row["reason"], row["similarity"])
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"{path} cannot be read: {first_line(error)}") from None
