"""Text in UTF-16 with a byte order mark, as some editors save it, read as UTF-8."""

import codecs
import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from aurelius.errors import CorpusError

CHUNK = 2**16


@contextmanager
def as_utf8(
    opened: "AbstractContextManager[io.BufferedReader[Any]]", name: str
) -> "Iterator[io.BufferedReader[Any]]":
    """Open a text; one that begins with the byte order mark of UTF-16 is converted while it is read.

    Raises:
        CorpusError: while reading, it is not UTF-16 in spite of its mark.
    """
    with opened as stream:
        if stream.peek(2)[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            yield stream
            return
        with io.BufferedReader(_Converted(stream, name)) as converted:
            yield converted


class _Converted(io.RawIOBase):
    """UTF-16 bytes as UTF-8."""

    def __init__(self, stream: "io.BufferedReader[Any]", name: str):
        self.stream, self.name = stream, name
        self.decoder = codecs.getincrementaldecoder("utf-16")()
        self.pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.pending:
            chunk = self.stream.read(CHUNK)
            try:
                self.pending = self.decoder.decode(chunk, final=not chunk).encode()
            except UnicodeDecodeError as error:
                raise CorpusError(
                    f"{self.name} begins like UTF-16 text but is not valid ({error.reason}); save it as UTF-8"
                ) from None
            if not chunk:
                break
        count = min(len(buffer), len(self.pending))
        buffer[:count], self.pending = self.pending[:count], self.pending[count:]
        return count
