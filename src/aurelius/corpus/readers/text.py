"""Plain text as stories: its lines, what parts its stories, and tables that were saved as text.

A *document* is the text between separators with outer newlines stripped, before any cleaning.
"""

import csv
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import IO

from aurelius.errors import CorpusError

SEPARATOR = "<|endoftext|>"
LONGEST = 2**24  # bytes of a line or a story; a longer one is no story, and might not fit the memory
DELIMITERS = ",;\t"
SAMPLE = 2**18  # bytes that show whether a text is a table,
ROWS = 200  # and the most rows


@dataclass(frozen=True)
class Reading:
    """How files are read: the column or key with the text, and what becomes of bytes that are not UTF-8."""

    column: str = "text"
    errors: str = "strict"  # or "replace"


Reader = Callable[[IO[bytes], str, Reading], Iterator[str]]
Opener = Callable[[], AbstractContextManager[IO[bytes]]]  # opens the same bytes anew at each call


def lines(file: IO[bytes], where: str, reading: Reading) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, line ends included.

    Raises:
        CorpusError: a line is longer than `LONGEST`, holds a zero byte, or is not UTF-8.
    """
    end = 0
    for number, line in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), 1):
        end += len(line)
        if len(line) > LONGEST:
            raise CorpusError(
                f"{where}: line {number} is longer than {LONGEST >> 20} MiB: no file of stories"
            )
        if b"\0" in line:
            raise CorpusError(f"{where} is not text: a zero byte stands in line {number}")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8", reading.errors)
        except UnicodeDecodeError as error:
            raise not_utf8(where, error, end, f" (line {number})") from None


def not_utf8(where: str, error: UnicodeDecodeError, end: int, line: str = "") -> CorpusError:
    """Say which byte is not UTF-8; what was being decoded ends at byte ``end`` of the file."""
    position = end - len(error.object) + error.start  # from the end, as a byte order mark is cut off
    return CorpusError(
        f"{where} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at {position}{line}; "
        f"convert the file, or put U+FFFD there with --encoding-errors replace"
    )


def parting(opened: Opener, where: str, reading: Reading) -> tuple[str, Reader]:
    """Return how the stories of a text are parted, in words, and what reads them so.

    Raises:
        CorpusError: as `lines`; or the text is a table.
    """
    with opened() as file:
        if any(line.strip() == SEPARATOR for line in lines(file, where, reading)):
            return f"stories parted by {SEPARATOR} lines", _separated
    with opened() as file:
        if _is_table(file.read(SAMPLE), where, reading):
            raise CorpusError(f"{table(where)}; if it is none, part its stories by {SEPARATOR} lines")
    return f"stories parted by blank lines (no {SEPARATOR})", _blocks


def table(where: str) -> CorpusError:
    """Say that a file is a table, and what to do with it."""
    return CorpusError(
        f"{where} is a table in CSV; save it as .parquet or .jsonl (with pandas: "
        f"read_csv(...).to_parquet(...)) and name the column with the text in corpus.column"
    )


def _is_table(sample: bytes, where: str, reading: Reading) -> bool:
    """Whether a text begins as a table: with a line of names, the column's among them, or with rows."""
    whole = len(sample) < SAMPLE
    if not whole:
        sample = sample[: sample.rfind(b"\n") + 1]  # no half line, no half character
    text = list(lines(BytesIO(sample), where, reading))
    names = re.split(f"[{DELIMITERS}]", text[0].strip()) if text else []
    if reading.column in [name.strip(' "') for name in names]:
        return True
    return any(_has_rows(text, delimiter, whole) for delimiter in DELIMITERS)


def _has_rows(text: list[str], delimiter: str, whole: bool) -> bool:
    """Whether lines are at least three rows of as many fields each, and the fields no parts of sentences."""
    try:
        rows = [row for row in islice(csv.reader(text, delimiter=delimiter), ROWS) if row]
    except csv.Error:  # such as a field of more than 128 KiB
        return False
    if not whole:  # the last one may be cut
        rows = rows[:-1]
    if len(rows) < 3 or len({len(row) for row in rows}) > 1:
        return False
    # Prose has a space after its comma. A few stories of a table may begin with one, too.
    fields = [field for row in rows for field in row[1:] if field]
    spaced = sum(field[0] == " " for field in fields)
    # In verses all of whose lines end with a comma, or begin with a tab, one column is empty.
    return any(row[0] for row in rows) and 4 * spaced < len(fields)


def _separated(file: IO[bytes], where: str, reading: Reading) -> Iterator[str]:
    return _joined(file, where, reading, lambda line: line.strip() == SEPARATOR)


def _blocks(file: IO[bytes], where: str, reading: Reading) -> Iterator[str]:
    return (story for story in _joined(file, where, reading, lambda line: not line.strip()) if story)


def _joined(file: IO[bytes], where: str, reading: Reading, parts: Callable[[str], bool]) -> Iterator[str]:
    """Yield what stands between the lines that part stories; nothing where the file ends with such a line."""
    story: list[str] = []
    size = 0
    for number, line in enumerate(lines(file, where, reading), 1):
        if parts(line):
            yield "".join(story).strip("\r\n")
            story, size = [], 0
            continue
        story.append(line)
        size += len(line.encode())
        if size > LONGEST:
            raise CorpusError(
                f"{where}: the story that ends after line {number} is longer than {LONGEST >> 20} MiB; "
                f"are {SEPARATOR} lines missing?"
            )
    if rest := "".join(story).strip("\r\n"):
        yield rest
