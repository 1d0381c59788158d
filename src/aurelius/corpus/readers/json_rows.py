"""JSON: one row per line, or one array of rows; a row is a text or an object that holds one."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO

from aurelius.corpus.readers import reader
from aurelius.corpus.readers.lines import lines
from aurelius.corpus.readers.reader import Documents, File, ReadOptions, text_of
from aurelius.errors import CorpusError, first_line

CHUNK = 2**16  # bytes read at once
DECODER = json.JSONDecoder()
SPACE = re.compile(r"[ \t\r\n]*")
TAIL = 16  # characters; a JSON error nearer than this to the end of what was read may only mean "read on"


def jsonl(file: File, options: ReadOptions) -> Documents:
    """Read rows in JSON, one per line.

    Raises:
        CorpusError: as `lines` and `text_of`; or the file is an array, or a line is not JSON.
    """
    with file.open() as stream:
        if stream.peek(64).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
            raise CorpusError(f"{file.name} begins with an array, as a .json file does; rename it to .json")

    def texts() -> Iterator[str]:
        with file.open() as stream:
            for number, line in enumerate(lines(stream, file.name, options), 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise CorpusError(f"{file.name}, line {number} is not JSON: {error}") from None
                yield text_of(row, f"{file.name}, line {number}", options.column)

    return Documents(f"jsonl{file.how_packed}, key '{options.column}'", texts())


def json_array(file: File, options: ReadOptions) -> Documents:
    """Read one array of texts or objects, however long: only the next row is held in memory.

    Raises:
        CorpusError: while reading, as `text_of`; or the file is not such an array, is truncated or not UTF-8,
            or a row is longer than `MAX_BYTES`.
    """

    def texts() -> Iterator[str]:
        with file.open() as stream:
            yield from array_rows(stream, file.name, options)

    return Documents(f"json{file.how_packed}, key '{options.column}'", texts())


def array_rows(stream: IO[bytes], name: str, options: ReadOptions) -> Iterator[str]:
    """Yield the texts of a JSON array; see `json_array`."""
    window = _Window(stream, name, options)
    if (character := window.next_character()) != "[":
        found = f"begins with {character!r}" if character else "is blank"
        raise CorpusError(f"{name} is not a JSON array, but {found}; name it .jsonl if each line is a row")
    window.skip()
    if window.next_character() == "]":
        raise CorpusError(f"{name} is an empty JSON array")
    while character != "]":
        yield text_of(window.take_row(), f"{name}, row {window.rows}", options.column)
        if (character := window.next_character()) not in (",", "]"):
            raise window.error("a comma or the array's end is missing")
        window.skip()
    if window.next_character():
        raise CorpusError(f"{name} continues after its JSON array of {window.rows} rows; remove the rest")


class _Window:
    """The part of a JSON text being parsed; what comes before it is forgotten.

    The library ijson would use up all memory for a row of many nested arrays, and turns half a surrogate pair
    into a question mark.
    """

    def __init__(self, stream: IO[bytes], name: str, options: ReadOptions):
        self.stream, self.name = stream, name
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")(options.encoding_errors)
        self.bytes_read = 0
        self.text = ""
        self.at = 0  # where the part already taken ends in the text
        self.rows = 0

    def next_character(self) -> str:
        """Return the next character that is not a space, or "" at the end."""
        while (begin := self._skip_spaces()) == len(self.text):
            if not self._read_more():
                return ""
        return self.text[begin]

    def skip(self) -> None:
        """Take that character."""
        self.at = self._skip_spaces() + 1

    def take_row(self) -> object:
        """Take one value, reading on until it is complete.

        Raises:
            CorpusError: it is not JSON, or not complete at the end of the file or after `MAX_BYTES`.
        """
        self.rows += 1
        while True:
            begin = self._skip_spaces()
            try:
                value, self.at = DECODER.raw_decode(self.text, begin)
                return value
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated") or error.pos > len(self.text) - TAIL
                if not (unfinished and self._read_more()):
                    what = error.msg.removesuffix(" at")
                    raise self.error(f"{what} at its character {error.pos - begin + 1}") from None
            except (ValueError, RecursionError) as error:  # numbers too long, or arrays too deep, to parse
                raise self.error(first_line(error)) from None

    def error(self, problem: str) -> CorpusError:
        """Say what is wrong with the row that was taken last."""
        return CorpusError(f"{self.name} is not a JSON array, or is truncated: row {self.rows}: {problem}")

    def _skip_spaces(self) -> int:
        found = SPACE.match(self.text, self.at)
        return found.end() if found else self.at

    def _read_more(self) -> bool:
        """Read as much again as is waiting, so that a long row is not parsed too often."""
        waiting = len(self.text) - self.at
        if waiting > reader.MAX_BYTES:
            raise CorpusError(
                f"{self.name}: row {max(1, self.rows)} is longer than {reader.MAX_BYTES >> 20} MiB; "
                "this is not a file of stories"
            )
        read = self.stream.read(max(CHUNK, waiting))
        self.bytes_read += len(read)
        try:
            text = self.decoder.decode(read, final=not read)
        except UnicodeDecodeError as error:
            raise reader.not_utf8(self.name, error, self.bytes_read) from None
        self.text, self.at = self.text[self.at :] + text, 0
        return bool(read or text)
