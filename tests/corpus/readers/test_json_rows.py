import io
import json
from collections.abc import Iterator
from itertools import chain, cycle, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelius.corpus.readers import json_rows, reader
from aurelius.corpus.readers.json_rows import array_rows
from aurelius.corpus.readers.reader import MARKS_AROUND, ReadOptions
from aurelius.corpus.readers.sources import open_path
from aurelius.errors import CorpusError


def texts(content: bytes | io.RawIOBase, **options) -> Iterator[str]:
    file = io.BytesIO(content) if isinstance(content, bytes) else io.BufferedReader(content)
    return array_rows(file, "a.json", ReadOptions(**options))


class Endless(io.RawIOBase):
    """A beginning, and then the same for ever."""

    def __init__(self, begin: bytes, rest: bytes):
        self.content, self.read_so_far = chain(begin, cycle(rest)), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        buffer[:] = bytes(islice(self.content, len(buffer)))
        self.read_so_far += len(buffer)
        return len(buffer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
STORIES = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.lists(st.tuples(STORIES, JSON), min_size=1),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.integers(1, 40),
)
def test_an_array_is_read_the_same_in_chunks_of_any_size(table, indent, ascii_only, chunk):
    content = json.dumps(
        [{"other": other, "text": text} for text, other in table], indent=indent, ensure_ascii=ascii_only
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "CHUNK", chunk)
        assert list(texts(content.encode("utf-8-sig"))) == [
            MARKS_AROUND.sub("", text).strip("\r\n") for text, _ in table
        ]


@given(st.binary(max_size=40), st.integers(1, 5))
def test_any_array_gives_stories_or_a_typed_error(content: bytes, chunk: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "CHUNK", chunk)
        for end in (b'"]', b"}]", b""):
            try:
                assert all(isinstance(text, str) for text in texts(b'["One.", ' + content + end))
            except CorpusError as error:
                assert "a.json" in str(error)


@pytest.mark.parametrize(
    ("begin", "rest", "row"),
    [
        (b'["One.", "', b"x", 2),
        (b'["One.", {"text": "Two.", "other": [', b"1, ", 2),
        (b'["One.", ', b" ", 2),
        (b"", b" ", 1),
    ],
)
def test_no_endless_row_is_read(monkeypatch: pytest.MonkeyPatch, begin: bytes, rest: bytes, row: int):
    monkeypatch.setattr(reader, "MAX_BYTES", 100_000)
    file = Endless(begin, rest)
    with pytest.raises(CorpusError, match=f"row {row} is longer than"):
        list(texts(file))
    assert file.read_so_far < 1_000_000


def test_an_array_may_be_endless(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "MAX_BYTES", 1000)
    assert list(islice(texts(Endless(b'["One."', b', "Two."')), 99_999))[-1] == "Two."


def test_the_position_of_a_byte_that_is_not_utf_8(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_rows, "CHUNK", 4)
    content = '["é", "café'.encode() + b'\xe9"]'
    with pytest.raises(CorpusError, match=r"a\.json is not UTF-8 text: byte 0xe9 at 13; .*replace"):
        list(texts(content))
    with pytest.raises(CorpusError, match="byte 0xe9 at 16;"):
        list(texts(b"\xef\xbb\xbf" + content))
    assert list(texts(content, encoding_errors="replace")) == ["é", "café\ufffd"]


@pytest.mark.parametrize("error", [MemoryError("no room"), pa.ArrowMemoryError("malloc of 9 failed")])
def test_rows_of_parquet_that_do_not_fit_in_memory(tmp_path: Path, monkeypatch, error: Exception):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["One."]}), path)

    def batches(*_: object, **__: object) -> Iterator[pa.RecordBatch]:
        raise error

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", batches)
    with pytest.raises(CorpusError, match=r"a\.parquet: its rows do not fit in memory") as caught:
        list(open_path(path).stories)
    assert "damaged" not in str(caught.value)


def test_parquet_with_bytes_that_are_not_utf_8(tmp_path: Path):
    column = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xe9")]
    )
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"a\.parquet is damaged: 'utf-8' codec"):
        list(open_path(tmp_path / "a.parquet").stories)


def test_a_failing_disk_is_not_reported_as_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["One."]}), path)

    def batches(*_: object, **__: object) -> Iterator[pa.RecordBatch]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", batches)
    with pytest.raises(OSError, match="Input/output error"):
        list(open_path(path).stories)


def test_marks_around_a_text_are_removed():
    rows = ["<|startoftext|>One.<|endoftext|>", " <s> Two.\n</s>\n", "A <s> inside.", "</s>"]
    assert [text.strip() for text in texts(json.dumps(rows).encode())] == [
        "One.",
        "Two.",
        "A <s> inside.",
        "",
    ]
