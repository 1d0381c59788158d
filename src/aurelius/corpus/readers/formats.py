"""The file formats that are read, by file name extension; to add one, write a reader and add a line here."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from aurelius.corpus.readers import json_rows, parquet, tables, tar, text
from aurelius.corpus.readers.encoding import as_utf8
from aurelius.corpus.readers.reader import Documents, File, Reader, ReadOptions
from aurelius.errors import CorpusError, first_line

READERS: dict[str, Reader] = {
    ".txt": text.text,
    ".jsonl": json_rows.jsonl,
    ".json": json_rows.json_array,
    ".parquet": parquet.parquet,
    ".tar": tar.tar,
}
REFUSED: dict[str, Reader] = {".csv": tables.table, ".tsv": tables.table}  # with advice
TEXTUAL = (".txt", ".jsonl", ".json")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".tgz": "gzip"}
MAGIC = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}  # the first bytes of compressed files


def readable() -> str:
    """Return the formats in words."""
    *names, last = READERS
    return f"{', '.join(names)} and {last} files (all but .parquet also as .gz or .zst)"


def suffix_of(path: Path) -> tuple[str, str | None]:
    """Return a file's extension, such as ``.txt``, and its compression, both by its name."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if not suffixes or suffixes[-1] not in COMPRESSIONS:
        return suffixes[-1] if suffixes else "", None
    if suffixes[-1] == ".tgz":
        return ".tar", "gzip"
    return suffixes[0] if len(suffixes) == 2 else "", COMPRESSIONS[suffixes[-1]]


def open_file(path: Path, options: ReadOptions) -> Documents:
    """Open a local file of stories.

    Raises:
        CorpusError: it is missing, empty, binary, truncated, of an unknown type, or without the column. Some
            of that shows only while reading.
    """
    if not path.is_file():
        raise CorpusError(f"{path} does not exist (a file on the hub is named hf:owner/dataset/file)")
    if path.stat().st_size == 0:
        raise CorpusError(f"{path} is empty")
    suffix, compression = suffix_of(path)
    reader = READERS.get(suffix) or REFUSED.get(suffix)
    if reader is None or (suffix == ".parquet" and compression):
        raise CorpusError(f"{path} is of type '{suffix}'; stories are read from {readable()}")
    file = File(str(path), partial(_decompressed, path, compression), path, compression)
    check_content(file, named_for_compression=compression is None)
    return reader(decoded(file, suffix), options)


def decoded(file: File, suffix: str) -> File:
    """Return a text file such that it is read as UTF-8, whatever its byte order mark says."""
    if suffix not in TEXTUAL:
        return file
    opened = file.open
    return replace(file, open=lambda: as_utf8(opened(), file.name))


def check_content(file: File, named_for_compression: bool) -> None:
    """Refuse a file that is compressed although its name does not say so.

    ``named_for_compression`` is whether another name would fix that. Opening the file also shows a wrong
    compression at once.
    """
    with file.open() as stream:
        begin = stream.peek(1)
    for suffix, magic in MAGIC.items():
        if begin.startswith(magic):
            advice = f"add {suffix} to its name" if named_for_compression else "unpack it"
            raise CorpusError(f"{file.name} is compressed with {COMPRESSIONS[suffix]}; {advice}")


@contextmanager
def _decompressed(path: Path, compression: str | None) -> "Iterator[io.BufferedReader[Any]]":
    """Open a file's bytes, decompressed; errors of the decompression name the file."""
    with path.open("rb") as raw:
        if compression is None:
            yield raw
            return
        try:
            with pa.CompressedInputStream(raw, compression) as stream, io.BufferedReader(stream) as file:  # pyright: ignore[reportArgumentType]
                yield file
        except OSError as error:
            if error.errno is not None:
                raise
            raise CorpusError(
                f"{path} is damaged or truncated: {first_line(error)}; get the file again"
            ) from None
