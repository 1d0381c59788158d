"""One file of stories, of any format, as an iterator of documents in bounded memory.

A *document* is the text between separators with outer newlines stripped, before any cleaning.
"""

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from aurelius.errors import CorpusError, first_line

SEPARATOR = "<|endoftext|>"
LONGEST = 2**24  # bytes of a line or a story; a longer one is no story, and might not fit the memory
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".tgz": "gzip"}
KINDS = (".txt", ".jsonl", ".json", ".parquet", ".tar")
READABLE = ".txt, .jsonl, .json, .parquet and .tar files (all but .parquet also as .gz or .zst)"


@dataclass(frozen=True)
class Reading:
    """How files are read: the column or key with the text, and what becomes of bytes that are not UTF-8."""

    column: str = "text"
    errors: str = "strict"  # or "replace"


def kind_of(path: Path) -> tuple[str, str | None]:
    """Return a file's kind, such as ``.txt``, and its compression, by its name."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if not suffixes or suffixes[-1] not in COMPRESSIONS:
        return suffixes[-1] if suffixes else "", None
    if suffixes[-1] == ".tgz":
        return ".tar", "gzip"
    return suffixes[0] if len(suffixes) == 2 else "", COMPRESSIONS[suffixes[-1]]


def open_file(path: Path, reading: Reading) -> tuple[str, Iterator[str], int | None]:
    """Open a local file of stories; return its format in words, its documents, and their number if known.

    Raises:
        CorpusError: missing, empty, binary, cut short, of an unknown type, or without the column. Some of
            that shows only while reading.
    """
    if not path.is_file():
        raise CorpusError(f"{path} is not there (a file on the hub is named hf:owner/dataset/file)")
    if path.stat().st_size == 0:
        raise CorpusError(f"{path} is empty")
    kind, compression = kind_of(path)
    if kind == ".parquet" and compression is None:
        return _parquet(path, reading.column)
    if kind in (".csv", ".tsv"):
        raise _table(path)
    if kind not in KINDS or kind == ".parquet":
        raise CorpusError(f"{path} is of type '{kind}'; stories are read from {READABLE}")
    with _reading(path, compression) as file:  # its first bytes show a wrong compression at once
        file.peek(1)
    packed = f", {compression}" if compression else ""
    if kind == ".jsonl":
        return f"jsonl{packed}, key '{reading.column}'", _opened(path, compression, reading, _jsonl), None
    if kind == ".json":
        return f"json{packed}, key '{reading.column}'", _opened(path, compression, reading, _json), None
    if kind == ".tar":
        return f"tar{packed} of .json, .jsonl or .txt", _opened(path, compression, reading, _tar), None
    if _has_separator(path, compression, reading):
        stories = _opened(path, compression, reading, _separated)
        return f"text{packed}, stories parted by {SEPARATOR} lines", stories, None
    if _has_columns(path, compression, reading):
        raise _table(path)
    stories = _opened(path, compression, reading, _blocks)
    return f"text{packed}, stories parted by blank lines (no {SEPARATOR})", stories, None


def _table(path: Path) -> CorpusError:
    return CorpusError(
        f"{path} is a table in CSV; save it as .parquet or .jsonl (with pandas: "
        f"read_csv(...).to_parquet(...)) and name the column with the text in corpus.column"
    )


def _has_columns(path: Path, compression: str | None, reading: Reading) -> bool:
    """Whether a text begins with a line of names of columns, the text's among them."""
    with _reading(path, compression) as file:
        names = re.split("[,;\t]", next(_lines(file, str(path), reading), "").strip())
    return reading.column in [name.strip(' "') for name in names]


@contextmanager
def _reading(path: Path, compression: str | None) -> Iterator[io.BufferedReader]:
    """Open a file's bytes, unpacked; complaints of the unpacking name the file."""
    with path.open("rb") as raw:
        if compression is None:
            yield raw
            return
        try:
            with pa.CompressedInputStream(raw, compression) as unpacked, io.BufferedReader(unpacked) as file:  # pyright: ignore[reportArgumentType]
                yield file
        except OSError as error:
            if error.errno is not None:
                raise
            raise CorpusError(
                f"{path} is damaged or cut short: {first_line(error)}; get the file again"
            ) from None


Reader = Callable[[IO[bytes], str, Reading], Iterator[str]]


def _opened(path: Path, compression: str | None, reading: Reading, reader: Reader) -> Iterator[str]:
    with _reading(path, compression) as file:
        yield from reader(file, str(path), reading)


def _lines(file: IO[bytes], where: str, reading: Reading) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, line ends included."""
    offset = 0
    for number, line in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), 1):
        if len(line) > LONGEST:
            raise CorpusError(
                f"{where}: line {number} is longer than {LONGEST >> 20} MiB: no file of stories"
            )
        if b"\0" in line:
            raise CorpusError(f"{where} is not text: a zero byte stands in line {number}")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8", reading.errors)
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{where} is not UTF-8 text: byte 0x{line[error.start]:02x} at {offset + error.start} "
                f"(line {number}); convert the file, or put U+FFFD there with --encoding-errors replace"
            ) from None
        offset += len(line)


def _has_separator(path: Path, compression: str | None, reading: Reading) -> bool:
    with _reading(path, compression) as file:
        return any(line.strip() == SEPARATOR for line in _lines(file, str(path), reading))


def _separated(file: IO[bytes], where: str, reading: Reading) -> Iterator[str]:
    return _joined(file, where, reading, lambda line: line.strip() == SEPARATOR)


def _blocks(file: IO[bytes], where: str, reading: Reading) -> Iterator[str]:
    return (story for story in _joined(file, where, reading, lambda line: not line.strip()) if story)


def _joined(file: IO[bytes], where: str, reading: Reading, parts: Callable[[str], bool]) -> Iterator[str]:
    """Yield what stands between the lines that part stories; nothing where the file ends with such a line."""
    story: list[str] = []
    size = 0
    for number, line in enumerate(_lines(file, where, reading), 1):
        if parts(line):
            yield "".join(story).strip("\r\n")
            story, size = [], 0
            continue
        story.append(line)
        size += len(line)
        if size > LONGEST:
            raise CorpusError(
                f"{where}: the story that ends after line {number} is longer than {LONGEST >> 20} MiB; "
                f"are {SEPARATOR} lines missing?"
            )
    if rest := "".join(story).strip("\r\n"):
        yield rest


def _jsonl(file: IO[bytes], where: str, reading: Reading) -> Iterator[str]:
    for number, line in enumerate(_lines(file, where, reading), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{where}, line {number} is not JSON: {error}") from None
        yield text_of(row, f"{where}, line {number}", reading.column)


def _json(file: IO[bytes], where: str, reading: Reading) -> Iterator[str]:
    """Read one array of strings or objects, however long, a row at a time."""
    import ijson

    number = 0
    try:
        for number, row in enumerate(ijson.items(file, "item"), 1):
            yield text_of(row, f"{where}, row {number}", reading.column)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise CorpusError(f"{where} is not a JSON array, or cut short: {first_line(error)}") from None
    if not number:
        raise CorpusError(f"{where} is not a JSON array of strings or objects, or an empty one")


def _tar(file: IO[bytes], where: str, reading: Reading) -> Iterator[str]:
    """Read a tar's files one after the other; nothing is unpacked to the disk, so no path can do harm."""
    readers: dict[str, Reader] = {".json": _json, ".jsonl": _jsonl, ".txt": _separated}
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                reader = readers.get(Path(member.name).suffix.lower())
                content = tar.extractfile(member) if member.isfile() and reader else None
                if content and reader:
                    yield from reader(content, f"{where}: {member.name}", reading)
    except tarfile.TarError as error:
        raise CorpusError(f"{where} is not a tar file, or cut short: {first_line(error)}") from None


def text_of(row: object, where: str, key: str) -> str:
    """Return the text of a row: the row itself, or what stands under ``key``.

    Raises:
        CorpusError: there is none; the message says what there is instead, ``where``.
    """
    text = row.get(key) if isinstance(row, dict) else row
    if isinstance(row, dict) and key in row and text is None:
        text = ""  # as in Parquet, an empty story
    if not isinstance(text, str):
        found = f"keys {', '.join(row)}" if isinstance(row, dict) else f"a {type(row).__name__}"
        raise CorpusError(f"{where} has no text under '{key}', but {found}; set corpus.column to the key")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{where} holds half of a surrogate pair (character {error.start}); remove it"
        ) from None
    return text.strip("\r\n")


def _parquet(path: Path, column: str) -> tuple[str, Iterator[str], int]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise CorpusError(f"{path} is not a Parquet file, or cut short: {error}") from None
    if column not in file.schema_arrow.names:
        columns = ", ".join(file.schema_arrow.names)
        raise CorpusError(f"{path} has no column '{column}', but {columns}; set corpus.column to one of them")
    kind = file.schema_arrow.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise CorpusError(f"{path}: column '{column}' holds {kind}, not text")

    def stories() -> Iterator[str]:
        try:
            for batch in file.iter_batches(columns=[column]):
                for text in batch.column(0).to_pylist():
                    yield (text or "").strip("\r\n")
        except (pa.ArrowException, OSError) as error:
            raise CorpusError(f"{path} is damaged: {first_line(error)}") from None

    return f"parquet, column '{column}'", stories(), file.metadata.num_rows
