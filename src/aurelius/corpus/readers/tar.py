"""Tar archives of stories, read one member after another."""

import io
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tarfile import EOFHeaderError, HeaderError, ReadError  # pyright: ignore[reportAttributeAccessIssue]
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Self, cast

from aurelius.corpus.readers import reader
from aurelius.corpus.readers.reader import Documents, File, ReadOptions
from aurelius.errors import CorpusError, first_line, some

MEMBERS = (".json", ".jsonl", ".txt")  # types of members that are read


def tar(file: File, options: ReadOptions) -> Documents:
    """Read the stories of all members of these types; others are skipped.

    No member is unpacked under its name, so a path in it can do no harm.

    Raises:
        CorpusError: while reading, as the readers of the members; or the file is not a tar, is truncated, or
            holds no such member.
    """
    return Documents(f"tar{file.how_packed} of {', '.join(MEMBERS)} files", _texts(file, options))


class _Header(tarfile.TarInfo):
    """The header of a member; a damaged or missing one does not end the archive, as it does for tarfile."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except EOFHeaderError:
            raise
        except HeaderError as error:
            raise ReadError(str(error)) from None


def _texts(file: File, options: ReadOptions) -> Iterator[str]:
    found, others = False, []
    try:
        with file.open() as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
            while member := archive.next():
                archive.members = []  # pyright: ignore[reportAttributeAccessIssue] # it would keep them all
                suffix = Path(member.name).suffix.lower()
                content = archive.extractfile(member) if suffix in MEMBERS and member.isfile() else None
                if content:
                    found = True
                    yield from _member(content, suffix, f"{file.name}: {member.name}", options)
                elif len(others) < 4:
                    others.append(member.name)
    except tarfile.TarError as error:
        raise CorpusError(f"{file.name} is not a tar file, or is truncated: {first_line(error)}") from None
    if not found:
        raise CorpusError(
            f"{file.name} holds no .json, .jsonl or .txt file, but {some(others) or 'nothing'} "
            "(compressed members are not read: unpack them)"
        )


def _member(content: IO[bytes], suffix: str, name: str, options: ReadOptions) -> Iterator[str]:
    from aurelius.corpus.readers.formats import READERS, check_content  # which registers this module

    # A reader may look at its file before it reads it, which a stream does not allow.
    with SpooledTemporaryFile(reader.MAX_BYTES) as copy:
        shutil.copyfileobj(content, copy)

        @contextmanager
        def from_the_beginning() -> "Iterator[io.BufferedReader[Any]]":
            copy.seek(0)
            buffered = io.BufferedReader(cast(io.RawIOBase, copy))
            try:
                yield buffered
            finally:
                buffered.detach()

        member = File(name, from_the_beginning)
        check_content(member, named_for_compression=False)
        yield from READERS[suffix](member, options).texts
