"""What every reader shares: its options, the file it is handed, what it returns, and its limits.

A *document* is one text of a file, outer newlines stripped, before any cleaning. A reader is a function from
a `File` and `ReadOptions` to `Documents`; `formats` registers one per file name extension.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from aurelius.errors import CorpusError

MAX_BYTES = 2**24  # of a line or a document; a longer one is not a story, and might not fit in memory


@dataclass(frozen=True)
class ReadOptions:
    """How files are read: the column or key with the text, and what to do with bytes that are not UTF-8."""

    column: str = "text"
    encoding_errors: str = "strict"  # or "replace"


@dataclass(frozen=True)
class File:
    """A file, or a member of an archive, to read.

    ``open`` gives its decompressed bytes from the beginning at each call; ``name`` is for messages; ``path``
    is None for a member of an archive.
    """

    name: str
    open: Callable[[], AbstractContextManager["BufferedReader[Any]"]]
    path: Path | None = None
    compression: str | None = None

    @property
    def how_packed(self) -> str:
        """The compression, for the description of a format."""
        return f", {self.compression}" if self.compression else ""


@dataclass(frozen=True)
class Documents:
    """What a reader found: the format in words, the documents, and how many there are, if known."""

    format: str
    texts: Iterator[str]
    count: int | None = None


Reader = Callable[[File, ReadOptions], Documents]


def text_of(row: object, where: str, key: str) -> str:
    """Return the text of a row: the row itself, or its value under ``key``.

    Raises:
        CorpusError: there is none, or none that can be a story; the message says what there is instead, and
            ``where``.
    """
    text = row.get(key) if isinstance(row, dict) else row
    if isinstance(row, dict) and key in row and text is None:
        text = ""  # as in Parquet, an empty story
    if not isinstance(text, str):
        found = f"keys {', '.join(row)}" if isinstance(row, dict) else f"a {type(row).__name__}"
        raise CorpusError(f"{where} has no text under '{key}', but {found}; set corpus.column to the key")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{where} holds half of a surrogate pair (character {error.start}); remove it"
        ) from None
    if size > MAX_BYTES:
        raise CorpusError(
            f"{where} is longer than {MAX_BYTES >> 20} MiB ({size:,} bytes), too long for a story; remove it"
        )
    return text.strip("\r\n")


def not_utf8(name: str, error: UnicodeDecodeError, end: int, line: str = "") -> CorpusError:
    """Say which byte is not UTF-8; the bytes being decoded end at byte ``end`` of the file."""
    position = end - len(error.object) + error.start  # from the end, since a byte order mark is cut off
    return CorpusError(
        f"{name} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at {position}{line}; "
        f"convert the file, or replace such bytes by U+FFFD with --encoding-errors replace"
    )
