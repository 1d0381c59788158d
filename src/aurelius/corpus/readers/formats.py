"""One file of stories, of any format, as an iterator of documents in bounded memory."""

import codecs
import io
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tarfile import EOFHeaderError, HeaderError, ReadError  # pyright: ignore[reportAttributeAccessIssue]
from tempfile import SpooledTemporaryFile
from typing import IO, Self, cast

import pyarrow as pa

from aurelius.corpus.readers import text as plain
from aurelius.corpus.readers.rows import json_array, jsonl, parquet
from aurelius.corpus.readers.text import Opener, Reader, Reading
from aurelius.errors import CorpusError, first_line, some

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".tgz": "gzip"}
MAGIC = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}  # what packed files begin with
KINDS = (".txt", ".jsonl", ".json", ".parquet", ".tar")
ROWS: dict[str, Reader] = {".jsonl": jsonl, ".json": json_array}
READABLE = ".txt, .jsonl, .json, .parquet and .tar files (all but .parquet also as .gz or .zst)"


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
        return f"parquet, column '{reading.column}'", *parquet(path, reading.column)
    if kind in (".csv", ".tsv"):
        raise plain.table(str(path))
    if kind not in KINDS or kind == ".parquet":
        raise CorpusError(f"{path} is of type '{kind}'; stories are read from {READABLE}")
    with _unpacked(path, compression) as file:  # its first bytes show a wrong compression at once
        _check(file.peek(1), kind, str(path), compression is None)
    opened = partial(_unpacked, path, compression)
    packed = f", {compression}" if compression else ""
    if kind == ".tar":
        how, reader = f"tar{packed} of .json, .jsonl or .txt", _tar
    elif kind == ".txt":
        parting, reader = plain.parting(opened, str(path), reading)
        how = f"text{packed}, {parting}"
    else:
        how, reader = f"{kind[1:]}{packed}, key '{reading.column}'", ROWS[kind]
    return how, _stories(opened, str(path), reading, reader), None


@contextmanager
def _unpacked(path: Path, compression: str | None) -> Iterator[io.BufferedReader]:
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


def _check(begin: bytes, kind: str, where: str, named: bool) -> None:
    """Refuse a file that begins as one of another kind; ``named`` if another name would mend that."""
    for suffix, magic in MAGIC.items():
        if begin.startswith(magic):
            advice = f"add {suffix} to its name" if named else "unpack it"
            raise CorpusError(f"{where} is packed with {COMPRESSIONS[suffix]}; {advice}")
    if kind == ".jsonl" and begin.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        raise CorpusError(f"{where} begins with an array, as a .json file does; rename it to .json")


def _stories(opened: Opener, where: str, reading: Reading, reader: Reader) -> Iterator[str]:
    with opened() as file:
        yield from reader(file, where, reading)


class _Header(tarfile.TarInfo):
    """The header of a member of a tar; a damaged one, or none, is no end of the tar as it is to tarfile."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except EOFHeaderError:
            raise
        except HeaderError as error:
            raise ReadError(str(error)) from None


def _tar(file: IO[bytes], where: str, reading: Reading) -> Iterator[str]:
    """Read a tar's files one after the other; none is unpacked under its name, so no path can do harm."""
    found, others = False, []
    try:
        with tarfile.open(fileobj=file, mode="r|", tarinfo=_Header) as tar:
            while member := tar.next():
                tar.members = []  # pyright: ignore[reportAttributeAccessIssue] # it would keep them all
                kind = Path(member.name).suffix.lower()
                content = tar.extractfile(member) if kind in (".txt", *ROWS) and member.isfile() else None
                if content:
                    found = True
                    yield from _member(
                        cast(io.BufferedReader, content), kind, f"{where}: {member.name}", reading
                    )
                elif len(others) < 4:
                    others.append(member.name)
    except tarfile.TarError as error:
        raise CorpusError(f"{where} is not a tar file, or cut short: {first_line(error)}") from None
    if not found:
        raise CorpusError(
            f"{where} holds no .json, .jsonl or .txt file, but {some(others) or 'nothing'} "
            "(packed members are not read: unpack them)"
        )


def _member(content: io.BufferedReader, kind: str, where: str, reading: Reading) -> Iterator[str]:
    _check(content.peek(1), kind, where, named=False)
    if kind in ROWS:
        yield from ROWS[kind](content, where, reading)
        return
    with SpooledTemporaryFile(plain.LONGEST) as copy:  # a text is looked at before it is read
        shutil.copyfileobj(content, copy)

        @contextmanager
        def again() -> Iterator[IO[bytes]]:
            copy.seek(0)
            yield copy

        _, reader = plain.parting(again, where, reading)
        yield from _stories(again, where, reading, reader)
