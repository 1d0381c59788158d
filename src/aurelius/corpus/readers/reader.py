"""What every reader shares: its options, the file it is handed, what it returns, and its limits.

A *document* is one text of a file, outer newlines stripped, before any cleaning. A reader is a function from
a `File` and `ReadOptions` to `Documents`; `formats` registers one per file name extension.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path, PurePath
from typing import Any

from aurelius.errors import CorpusError

MAX_BYTES = 2**24  # of a line or a document; a longer one is not a story, and might not fit in memory
END_MARKS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|im_end|>")
START_MARKS = ("<|startoftext|>", "<s>", "<|begin_of_text|>", "<bos>")
MARK = re.compile("|".join(map(re.escape, (*END_MARKS, *START_MARKS))))
MARKS_AROUND = re.compile(rf"(?:\s*(?:{MARK.pattern}))+\s*\Z|\A\s*(?:(?:{MARK.pattern})\s*)+")


@dataclass(frozen=True)
class ReadOptions:
    """How files are read: the column or key with the text, and what to do with bytes that are not UTF-8.

    ``one_of_several`` is set where a folder, pattern or archive has several files: then each may be a story.
    """

    column: str = "text"
    encoding_errors: str = "strict"  # or "replace"
    separator: str = "auto"  # of the stories in a text: line, blank, file, or a text that stands between them
    one_of_several: bool = False


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
    """What a reader found: the format in words, the documents, and how many there are, if known.

    ``skipped`` has the names of an archive's files that were left out; reading adds to it.
    """

    format: str
    texts: Iterator[str]
    count: int | None = None
    skipped: list[str] = field(default_factory=list)


Reader = Callable[[File, ReadOptions], Documents]
NOT_STORIES = ("license", "licence", "readme", "copying", "notice", "changelog")  # names without extension


def is_skipped(path: PurePath) -> bool:
    """Whether a file of a folder or archive is skipped by its name: hidden ones, licences and the like."""
    return any(part.startswith(".") for part in path.parts if part not in (".", "..")) or (
        path.name.split(".")[0].lower() in NOT_STORIES
    )


def text_of(row: object, where: str, key: str) -> str:
    """Return the text of a row: the row itself, or its value under ``key``, without marks around it.

    Raises:
        CorpusError: there is none, or none that can be a story; the message says what there is instead, and
            ``where``.
    """
    text = row.get(key) if isinstance(row, dict) else row
    if isinstance(row, dict) and key in row and text is None:
        text = ""  # as in Parquet, an empty story
    if not isinstance(text, str):
        raise CorpusError(_no_text(row, text, where, key))
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
    return (MARKS_AROUND.sub("", text) if "<" in text else text).strip("\r\n")


def _no_text(row: object, value: object, where: str, key: str) -> str:
    """Say what a row has instead of a text."""
    if isinstance(row, dict) and key not in row:
        keys = ", ".join(map(str, row))
        return f"{where} has no text under '{key}', but keys {keys}; set corpus.column to the key"
    holder = f"{where}: '{key}'" if isinstance(row, dict) else where
    if isinstance(value, float) and value != value:
        return f"{holder} is NaN, a missing value; drop such rows"
    kind = {list: "a list", dict: "an object", bool: "true or false", bytes: "bytes"}.get(type(value))
    kind = kind or ("a number" if isinstance(value, (int, float)) else f"a {type(value).__name__}")
    advice = "join its parts into one text" if isinstance(value, list) else "a story must be one text"
    return f"{holder} holds {kind}, not a text; {advice}"


def not_utf8(name: str, error: UnicodeDecodeError, end: int, line: str = "") -> CorpusError:
    """Say which byte is not UTF-8; the bytes being decoded end at byte ``end`` of the file."""
    position = end - len(error.object) + error.start  # from the end, since a byte order mark is cut off
    return CorpusError(
        f"{name} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at {position}{line}; "
        f"convert the file, or replace such bytes by U+FFFD with --encoding-errors replace"
    )
