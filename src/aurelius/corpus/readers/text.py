"""Plain text: its lines, what separates its stories, and tables that were saved as text."""

import csv
import re
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from typing import IO

from aurelius.corpus.readers import reader
from aurelius.corpus.readers.reader import Documents, File, ReadOptions
from aurelius.errors import CorpusError

SEPARATOR = "<|endoftext|>"
DELIMITERS = ",;\t"
SAMPLE = 2**18  # bytes that show whether a text is a table,
SAMPLE_ROWS = 200  # and at most so many rows


def text(file: File, options: ReadOptions) -> Documents:
    """Read the stories of a text, separated by ``<|endoftext|>`` lines or, if it has none, by blank lines.

    Raises:
        CorpusError: as `lines`; or the text is a table.
    """
    with file.open() as stream:
        separated = any(line.strip() == SEPARATOR for line in lines(stream, file.name, options))
    if separated:
        how, is_separator = f"separated by {SEPARATOR} lines", _is_separator
    else:
        with file.open() as stream:
            if _is_table(stream.read(SAMPLE), file.name, options):
                raise CorpusError(
                    f"{_table_message(file.name)}; if it is not a table, separate its stories by "
                    f"{SEPARATOR} lines"
                )
        how, is_separator = f"separated by blank lines (no {SEPARATOR})", _is_blank

    def stories() -> Iterator[str]:
        with file.open() as stream:
            for story in _split(stream, file.name, options, is_separator):
                if story or separated:
                    yield story

    return Documents(f"text{file.how_packed}, stories {how}", stories())


def table(file: File, options: ReadOptions) -> Documents:
    """Refuse a table in CSV.

    Raises:
        CorpusError: always; the message says how to convert it.
    """
    raise CorpusError(_table_message(file.name))


def lines(stream: IO[bytes], name: str, options: ReadOptions) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, line ends included.

    Raises:
        CorpusError: a line is longer than `MAX_BYTES`, holds a zero byte, or is not UTF-8.
    """
    end = 0
    for number, line in enumerate(iter(lambda: stream.readline(reader.MAX_BYTES + 1), b""), 1):
        end += len(line)
        if len(line) > reader.MAX_BYTES:
            raise CorpusError(
                f"{name}: line {number} is longer than {reader.MAX_BYTES >> 20} MiB; "
                "this is not a file of stories"
            )
        if b"\0" in line:
            raise CorpusError(f"{name} is not text: line {number} holds a zero byte")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8", options.encoding_errors)
        except UnicodeDecodeError as error:
            raise reader.not_utf8(name, error, end, f" (line {number})") from None


def _is_separator(line: str) -> bool:
    return line.strip() == SEPARATOR


def _is_blank(line: str) -> bool:
    return not line.strip()


def _split(
    stream: IO[bytes], name: str, options: ReadOptions, is_separator: Callable[[str], bool]
) -> Iterator[str]:
    """Yield the text between separator lines; nothing for the rest if the file ends with a separator."""
    story: list[str] = []
    size = 0
    for number, line in enumerate(lines(stream, name, options), 1):
        if is_separator(line):
            yield "".join(story).strip("\r\n")
            story, size = [], 0
            continue
        story.append(line)
        size += len(line.encode())
        if size > reader.MAX_BYTES:
            raise CorpusError(
                f"{name}: the story that ends after line {number} is longer than "
                f"{reader.MAX_BYTES >> 20} MiB; are {SEPARATOR} lines missing?"
            )
    if rest := "".join(story).strip("\r\n"):
        yield rest


def _table_message(name: str) -> str:
    return (
        f"{name} is a table in CSV; save it as .parquet or .jsonl (with pandas: "
        f"read_csv(...).to_parquet(...)) and set corpus.column to the column with the text"
    )


def _is_table(sample: bytes, name: str, options: ReadOptions) -> bool:
    """Whether a text begins like a table: with a header that has the column's name, or with rows."""
    whole = len(sample) < SAMPLE
    if not whole:
        sample = sample[: sample.rfind(b"\n") + 1]  # no half line, no half character
    sampled = list(lines(BytesIO(sample), name, options))
    header = re.split(f"[{DELIMITERS}]", sampled[0].strip()) if sampled else []
    if options.column in [name.strip(' "') for name in header]:
        return True
    return any(_has_rows(sampled, delimiter, whole) for delimiter in DELIMITERS)


def _has_rows(sampled: list[str], delimiter: str, whole: bool) -> bool:
    """Whether lines form at least three rows of equally many fields that are not parts of sentences."""
    try:
        rows = [row for row in islice(csv.reader(sampled, delimiter=delimiter), SAMPLE_ROWS) if row]
    except csv.Error:  # such as a field of more than 128 KiB
        return False
    if not whole:  # the last one may be cut off
        rows = rows[:-1]
    if len(rows) < 3 or len({len(row) for row in rows}) > 1:
        return False
    # Prose has a space after a comma. A few stories of a table may begin with one, too.
    fields = [field for row in rows for field in row[1:] if field]
    spaced = sum(field[0] == " " for field in fields)
    # In verse whose lines all end with a comma, or begin with a tab, one column is empty.
    return any(row[0] for row in rows) and 4 * spaced < len(fields)
