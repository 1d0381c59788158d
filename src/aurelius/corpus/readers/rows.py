"""Rows with a text each: JSON, a row a line or one array, Parquet, and what Python gives."""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from aurelius.corpus.readers import text as plain
from aurelius.corpus.readers.text import Reading
from aurelius.errors import CorpusError, first_line

CHUNK = 2**16  # bytes of JSON read at once
BATCH = 1000  # rows of Parquet held at once
DECODER = json.JSONDecoder()
SPACE = re.compile(r"[ \t\r\n]*")
TAIL = 16  # characters; an error of JSON nearer to the end of what was read may only say that it ends there


def text_of(row: object, where: str, key: str) -> str:
    """Return the text of a row: the row itself, or what stands under ``key``.

    Raises:
        CorpusError: there is none, or none that can be a story; the message says what there is instead,
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
    if size > plain.LONGEST:
        raise CorpusError(
            f"{where} is longer than {plain.LONGEST >> 20} MiB ({size:,} bytes): no story; leave it out"
        )
    return text.strip("\r\n")


def jsonl(file: IO[bytes], where: str, reading: Reading) -> Iterator[str]:
    """Yield the texts of rows in JSON, one a line.

    Raises:
        CorpusError: as `plain.lines` and `text_of`; or a line is not JSON.
    """
    for number, line in enumerate(plain.lines(file, where, reading), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{where}, line {number} is not JSON: {error}") from None
        yield text_of(row, f"{where}, line {number}", reading.column)


def json_array(file: IO[bytes], where: str, reading: Reading) -> Iterator[str]:
    """Yield the texts of one array of strings or objects, however long: no more is held than the next row.

    Raises:
        CorpusError: as `text_of`; or the file is no such array, is cut short or not UTF-8, or a row is longer
            than `plain.LONGEST`.
    """
    window = _Window(file, where, reading)
    if (sign := window.sign()) != "[":
        found = f"begins with {sign!r}" if sign else "is blank"
        raise CorpusError(f"{where} is not a JSON array, but {found}; name it .jsonl if each line is a row")
    window.step()
    if window.sign() == "]":
        raise CorpusError(f"{where} is an empty JSON array")
    while sign != "]":
        yield text_of(window.row(), f"{where}, row {window.rows}", reading.column)
        if (sign := window.sign()) not in (",", "]"):
            raise window.broken("a comma or the array's end is missing")
        window.step()
    if window.sign():
        raise CorpusError(f"{where} goes on after its JSON array of {window.rows} rows; remove the rest")


class _Window:
    """The part of a JSON text that is looked at; what comes before it is forgotten.

    The library ijson would take more memory than there is for a row of many nested arrays, and turns half a
    surrogate pair into a question mark.
    """

    def __init__(self, file: IO[bytes], where: str, reading: Reading):
        self.file, self.where = file, where
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")(reading.errors)
        self.bytes = 0  # read so far
        self.text = ""
        self.at = 0  # where what was taken ends in the text
        self.rows = 0

    def sign(self) -> str:
        """Return the next character that is no space, or nothing at the end."""
        while (begin := self._begin()) == len(self.text):
            if not self._more():
                return ""
        return self.text[begin]

    def step(self) -> None:
        """Take that character."""
        self.at = self._begin() + 1

    def row(self) -> object:
        """Take one value, reading on until it is whole.

        Raises:
            CorpusError: it is not JSON, or not whole where the file ends or after `plain.LONGEST`.
        """
        self.rows += 1
        while True:
            begin = self._begin()
            try:
                value, self.at = DECODER.raw_decode(self.text, begin)
                return value
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated") or error.pos > len(self.text) - TAIL
                if not (unfinished and self._more()):
                    what = error.msg.removesuffix(" at")
                    raise self.broken(f"{what} at its character {error.pos - begin + 1}") from None
            except (ValueError, RecursionError) as error:  # longer numbers, or deeper arrays, than are read
                raise self.broken(first_line(error)) from None

    def broken(self, what: str) -> CorpusError:
        """Say what is wrong with the row that was taken last."""
        return CorpusError(f"{self.where} is not a JSON array, or cut short: row {self.rows}: {what}")

    def _begin(self) -> int:
        found = SPACE.match(self.text, self.at)
        return found.end() if found else self.at

    def _more(self) -> bool:
        """Read on, as much again as is waiting, so that a long row is not looked at too often."""
        waiting = len(self.text) - self.at
        if waiting > plain.LONGEST:
            raise CorpusError(
                f"{self.where}: row {max(1, self.rows)} is longer than {plain.LONGEST >> 20} MiB: "
                "no file of stories"
            )
        read = self.file.read(max(CHUNK, waiting))
        self.bytes += len(read)
        try:
            text = self.decoder.decode(read, final=not read)
        except UnicodeDecodeError as error:
            raise plain.not_utf8(self.where, error, self.bytes) from None
        self.text, self.at = self.text[self.at :] + text, 0
        return bool(read or text)


def parquet(path: Path, column: str) -> tuple[Iterator[str], int]:
    """Return the texts of a column of a Parquet file, and their number.

    Raises:
        CorpusError: the file is no such file, cut short, or without a column of texts; while reading, as
            `text_of`, or the file is damaged, or its rows do not fit the memory.
    """
    with _complaints(path, "is not a Parquet file, or cut short"):
        file = pq.ParquetFile(path)
    if column not in file.schema_arrow.names:
        columns = ", ".join(file.schema_arrow.names)
        raise CorpusError(f"{path} has no column '{column}', but {columns}; set corpus.column to one of them")
    kind = file.schema_arrow.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise CorpusError(f"{path}: column '{column}' holds {kind}, not text")
    return _texts(file, path, column), file.metadata.num_rows


def _texts(file: pq.ParquetFile, path: Path, column: str) -> Iterator[str]:
    with _complaints(path, "is damaged"):
        batches = file.iter_batches(BATCH, columns=[column])
        texts = chain.from_iterable(batch.column(0).to_pylist() for batch in batches)
        for number, text in enumerate(texts, 1):
            yield text_of(text or "", f"{path}, row {number}", column)


@contextmanager
def _complaints(path: Path, what: str) -> Iterator[None]:
    """Have pyarrow's complaints name the file and what is wrong with it."""
    try:
        yield
    except MemoryError as error:  # pyarrow's own is one
        raise CorpusError(
            f"{path}: its rows do not fit the memory ({first_line(error)}); write it with smaller row groups "
            f"(with pandas: to_parquet(..., row_group_size=10_000)), and look for rows that are no stories"
        ) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's complaint, not the file's
        raise CorpusError(f"{path} {what}: {first_line(error)}") from None
