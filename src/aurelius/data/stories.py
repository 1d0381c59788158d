"""The stories of a corpus folder, read from Parquet as they are iterated over."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aurelius.errors import RunError, first_line

BATCH = 1000  # stories decoded at once


class StoryFile(Collection[str]):
    """The stories of one side of the split, ``train`` or ``valid``."""

    def __init__(self, corpus_folder: Path, side: str, limit: int | None = None):
        """Open them, or only the first ``limit``.

        Raises:
            RunError: the file is missing or damaged.
        """
        self.path = corpus_folder / f"{side}.parquet"
        with self._read_errors():
            count = pq.read_metadata(self.path).num_rows
        self.count = count if limit is None else min(limit, count)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        return islice(self._all(), self.count)

    def __contains__(self, text: object) -> bool:
        return any(text == other for other in self)

    def _all(self) -> Iterator[str]:
        with self._read_errors(), pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(BATCH, columns=["text"]):
                yield from batch.column(0).to_pylist()

    @contextmanager
    def _read_errors(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise RunError(
                f"{self.path} cannot be read: {first_line(error)}; "
                "aurelius run RUN --verify --update makes it again"
            ) from None


def read_stories(corpus_folder: Path, side: str) -> list[str]:
    """Return all stories of ``train`` or ``valid`` of a corpus folder.

    Raises:
        RunError: the file is missing or damaged.
    """
    return list(StoryFile(corpus_folder, side))
