"""Tar archives of stories, read one member after another."""

import io
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tarfile import EOFHeaderError, HeaderError, ReadError  # pyright: ignore[reportAttributeAccessIssue]
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Self, cast

from aurelius.corpus.readers import reader
from aurelius.corpus.readers.reader import Documents, File, ReadOptions, is_skipped
from aurelius.errors import CorpusError, first_line, some

MEMBERS = (".json", ".jsonl", ".txt")  # types of members that are read


def tar(file: File, options: ReadOptions) -> Documents:
    """Read the stories of all members of these types; others are skipped.

    No member is unpacked under its name, so a path in it can do no harm.

    Raises:
        CorpusError: while reading, as the readers of the members; or the file is not a tar, is truncated, or
            holds no such member.
    """
    skipped: list[str] = []
    texts = _texts(file, options, skipped)
    return Documents(f"tar{file.how_packed} of {', '.join(MEMBERS)} files", texts, skipped=skipped)


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


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while member := archive.next():
        archive.members = []  # pyright: ignore[reportAttributeAccessIssue] # it would keep them all
        yield member


def _is_read(member: tarfile.TarInfo) -> bool:
    return member.isfile() and Path(member.name).suffix.lower() in MEMBERS


def _has_several(file: File) -> bool:
    """Whether an archive has more than one member that is read; it is read up to the second one."""
    with file.open() as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
        read = (m for m in _members(archive) if _is_read(m) and not is_skipped(Path(m.name)))
        return len(list(islice(read, 2))) > 1


def _texts(file: File, options: ReadOptions, skipped: list[str]) -> Iterator[str]:
    found, others = False, []
    try:
        options = replace(options, one_of_several=_has_several(file))
        with file.open() as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
            for member in _members(archive):
                suffix = Path(member.name).suffix.lower()
                if _is_read(member) and is_skipped(Path(member.name)):
                    skipped.append(member.name)
                    continue
                content = archive.extractfile(member) if _is_read(member) else None
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
    from aurelius.corpus.readers.formats import READERS, check_content, decoded  # which registers this module

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
        yield from READERS[suffix](decoded(member, suffix), options).texts
