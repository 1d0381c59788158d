"""The lines of a text file, decoded and limited in length."""

from collections.abc import Iterator
from typing import IO

from aurelius.corpus.readers import reader
from aurelius.corpus.readers.reader import ReadOptions
from aurelius.errors import CorpusError


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
