"""Browse a corpus folder: its stories, and those that were dropped, by text and reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aurelius.data.stories import StoryFile
from aurelius.errors import CorpusError, RunError, first_line, suggest
from aurelius.files import read_json
from aurelius.run_paths import RunPaths

SIDES = ("train", "valid", "dropped")


@dataclass(frozen=True)
class Match:
    """A story, its number on its side, and, if it was dropped, why."""

    side: str
    number: int
    text: str
    reason: str = ""
    similarity: float | None = None


def search(run: Path, side: str = "train", words: str = "", reason: str = "") -> Iterator[Match]:
    """Yield the stories of one side that contain ``words``, ignoring case.

    Args:
        run: a run folder.
        side: train, valid or dropped.
        words: what the text must contain; empty matches every story.
        reason: for dropped stories, what the reason must contain.

    Raises:
        CorpusError: there is no such side, or no such reason.
        RunError: the corpus is missing or damaged.
    """
    if side not in SIDES:
        raise CorpusError(f"a corpus has no side '{side}'; choose from {', '.join(SIDES)}")
    paths = RunPaths(run)
    folder = paths.corpus
    if not paths.corpus_report.is_file():
        raise RunError(f"{run} has no corpus yet; {suggest('corpus', run)} makes one")
    reasons = read_json(paths.corpus_report)["dropped"]
    if reason and not any(reason.lower() in known.lower() for known in reasons):
        raise CorpusError(
            f"no story was dropped for '{reason}'; the reasons are: {', '.join(reasons) or 'none'}"
        )
    words, reason = words.lower(), reason.lower()
    return (
        match
        for match in _stories(folder, side)
        if words in match.text.lower() and reason in match.reason.lower()
    )


def _stories(folder: Path, side: str) -> Iterator[Match]:
    if side != "dropped":
        for number, text in enumerate(StoryFile(folder, side)):
            yield Match(side, number, text)
        return
    path, number = folder / "dropped.parquet", 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1000):
                for row in batch.to_pylist():
                    yield Match(side, number, row["text"], row["reason"], row["similarity"])
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"{path} cannot be read: {first_line(error)}") from None
