import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelius.config.settings import CorpusSettings
from aurelius.corpus import storyteller
from aurelius.corpus.readers import reader, sources
from aurelius.corpus.readers.reader import ReadOptions
from aurelius.corpus.readers.sources import Source, open_path, open_source
from aurelius.errors import CorpusError


def documents(path: Path, **options) -> list[str]:
    return list(open_path(path, ReadOptions(**options)).stories)


def test_separated_text(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffOne.\n\nStill one.  \n<|endoftext|>\r\n\nTwo.\n<|endoftext|>\nThree".encode())
    assert documents(path) == ["One.\n\nStill one.  ", "Two.", "Three"]
    assert "<|endoftext|>" in open_path(path).format


def test_text_without_separators_is_split_at_blank_lines_and_says_so(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("\nOne.\nStill one.\n\n \n\nTwo.")
    assert documents(path) == ["One.\nStill one.", "Two."]
    assert "blank lines" in open_path(path).format


def test_jsonl_and_parquet_give_the_same_documents(tmp_path: Path):
    stories = ["One.\nTwo.", "“Three” 🎈"]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"story": s}) for s in stories) + "\n\n")
    pq.write_table(pa.table({"story": stories}), tmp_path / "a.parquet")
    assert documents(tmp_path / "a.jsonl", column="story") == stories
    assert documents(tmp_path / "a.parquet", column="story") == stories


def test_null_is_an_empty_story_in_both(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"text": null}\n')
    pq.write_table(pa.table({"text": pa.array([None], pa.string())}), tmp_path / "a.parquet")
    assert documents(tmp_path / "a.jsonl") == documents(tmp_path / "a.parquet") == [""]


def test_jsonl_of_plain_strings(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('"One."\n"Two."\n')
    assert documents(tmp_path / "a.jsonl") == ["One.", "Two."]


def test_real_samples_have_the_stories_their_readme_counts(train_sample: Path, valid_sample: Path):
    assert len(documents(train_sample)) == 10_949
    assert len(documents(valid_sample)) == 3_228
    v1 = train_sample.with_name("TinyStories-v1-train.sample.jsonl")
    assert len(documents(v1)) == 10_384


def test_the_storyteller_is_a_source_with_a_cap():
    source = open_source(CorpusSettings(stories=5))
    assert source.count == 5 and len(list(source.stories)) == 5


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b"text\n\0\x01binary", "line 2 holds a zero byte"),
        ("a.txt", b"caf\xe9 au lait", "byte 0xe9 at 3 (line 1)"),
        ("a.csv", b"a,b", "is a table in CSV"),
        ("a.txt", b'id,text\n1,"A cat sat."\n', "is a table in CSV"),
        ("a.txt", b'"text"\nA cat sat.\n', "is a table in CSV"),
        ("a.docx", b"a,b", "type '.docx'"),
        ("a", b"a,b", "type ''"),
        ("a.txt.gz", b"One.\n", "is damaged or truncated"),
        ("a.txt.gz", gzip.compress(b"One.\n" * 9999)[:-9], "is damaged or truncated"),
        ("a.jsonl.zst", b"One.\n", "is damaged or truncated"),
        ("a.json", b'[{"text": "One."}, {"te', "not a JSON array, or is truncated"),
        ("a.json", b'{"text": "One."}', "not a JSON array"),
        (
            "a.json",
            b'[{"text": "caf\xe9"}]',
            "byte 0xe9 at 14; convert the file, or replace such bytes by U+FFFD",
        ),
        ("a.json", b'{"text": "One."}\n', "not a JSON array, but begins with '{'; name it .jsonl"),
        ("a.json", b" \n", "not a JSON array, but is blank"),
        ("a.json", b"[ ]", "is an empty JSON array"),
        ("a.json", b'["One."] ["Two."]', "continues after its JSON array"),
        ("a.json", b'["One." "Two."]', "row 1: a comma or the array's end is missing"),
        ("a.json", b'["One.",]', "row 2: Expecting value at its character 1"),
        ("a.json", b"[" * 200_000, "row 1: maximum recursion depth"),
        ("a.json", b"[" + b"1" * 5000 + b"]", "row 1: Exceeds the limit"),
        ("a.json", b'["One.", "\\ud83d"]', "row 2 holds half of a surrogate pair"),
        ("a.json", gzip.compress(b'["One."]'), "is compressed with gzip; add .gz to its name"),
        ("a.jsonl", gzip.compress(b'"One."'), "is compressed with gzip; add .gz to its name"),
        (
            "a.txt",
            pa.compress(b"One.", "zstd", asbytes=True),
            "is compressed with zstd; add .zst to its name",
        ),
        ("a.txt.gz", gzip.compress(gzip.compress(b"One.")), "is compressed with gzip; unpack it"),
        ("a.tar", gzip.compress(b"no tar"), "is compressed with gzip; add .gz to its name"),
        ("a.json", b'[{"story": "One."}]', "row 1 has no text under 'text', but keys story"),
        ("a.tar", b"no tar at all" * 99, "not a tar file"),
        ("a.parquet.gz", b"PAR1", "type '.parquet'"),
        ("a.jsonl", b'{"text": "ok"}\n{oops', "line 2 is not JSON"),
        ("a.jsonl", b'{"story": "ok"}', "keys story"),
        ("a.jsonl", b'"One."\n' + b"[" * 200_000, "line 2 is not JSON"),
        (
            "a.jsonl",
            b'\xef\xbb\xbf [{"text": "One."}]',
            "begins with an array, as a .json file does; rename it",
        ),
        ("a.jsonl", b'{"text": 3}', "'text' holds a number, not a text"),
        ("a.jsonl", b'"fine"\n{"text": "\\ud83d"}', "line 2 holds half of a surrogate pair"),
        ("a.parquet", b"PAR1 not really", "not a Parquet file"),
    ],
)
def test_bad_files_are_named_with_the_reason(tmp_path: Path, name: str, content: bytes, words: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CorpusError) as caught:
        documents(path)
    assert words in str(caught.value) and str(path) in str(caught.value)
    assert "b'" not in str(caught.value), "bytes are no words"


def test_a_parquet_file_with_a_damaged_page(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"story {n}" * 50 for n in range(999)]}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"a\.parquet is damaged"):
        documents(path)


def test_missing_files_folders_and_columns(tmp_path: Path):
    with pytest.raises(CorpusError, match="does not exist"):
        documents(tmp_path / "no.txt")
    with pytest.raises(CorpusError, match="is a folder without stories"):
        documents(tmp_path)
    with pytest.raises(CorpusError, match=r"no file matches .*\*\.txt"):
        documents(tmp_path / "*.txt")
    pq.write_table(pa.table({"story": ["x"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="no column 'text', but story, n"):
        documents(tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="holds int64"):
        documents(tmp_path / "a.parquet", column="n")


@pytest.mark.parametrize("name", ["hf:", "hf:owner", "hf:owner/data", "hf:owner/data/", "hf:/data/file"])
def test_incomplete_hub_names(name: str):
    with pytest.raises(CorpusError, match="hf:owner/dataset/file"):
        open_source(CorpusSettings(source=name))


def test_several_sources_are_read_one_after_another(tmp_path: Path):
    (tmp_path / "a.txt").write_text("One.\n<|endoftext|>\nTwo.\n")
    (tmp_path / "b.jsonl").write_text('{"text": "Three."}\n')
    recipe = CorpusSettings(source=[str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl")])
    source = open_source(recipe)
    assert list(source.stories) == ["One.", "Two.", "Three."]
    assert [path.name for path in source.files] == ["a.txt", "b.jsonl"]
    assert "a.txt and " in source.name and "jsonl" in source.format


def packed(path: Path, content: bytes) -> None:
    if path.suffix == ".gz":
        path.write_bytes(
            gzip.compress(content[:9]) + gzip.compress(content[9:])
        )  # of two members, as pigz writes
    else:
        with pa.CompressedOutputStream(str(path), "zstd") as file:
            file.write(content)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.zst", "a.jsonl.gz", "a.jsonl.zst", "a.json.gz"])
def test_compressed_files(tmp_path: Path, name: str):
    stories = [f"Story {n}.\nIt ends." for n in range(500)]
    content = "".join(f"{s}\n<|endoftext|>\n" for s in stories)
    if ".json" in name:
        rows = [json.dumps({"text": s}) for s in stories]
        content = "\n".join(rows) if "jsonl" in name else f"[{', '.join(rows)}]"
    packed(tmp_path / name, content.encode())
    assert documents(tmp_path / name) == stories


def test_folders_and_patterns_are_read_in_order(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    for name in ("b.txt", "a.txt", "deep/c.txt"):
        (tmp_path / name).write_text(f"Story {name}.")
    (tmp_path / "README.md").write_text("not read")
    assert documents(tmp_path) == ["Story a.txt.", "Story b.txt.", "Story deep/c.txt."]
    assert documents(tmp_path / "?.txt") == ["Story a.txt.", "Story b.txt."]
    source = open_source(CorpusSettings(source=str(tmp_path)))
    assert [path.name for path in source.files] == ["a.txt", "b.txt", "c.txt"]


def test_bytes_that_are_not_utf_8_can_be_replaced(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(CorpusError, match="--encoding-errors replace"):
        documents(tmp_path / "a.txt")
    assert documents(tmp_path / "a.txt", encoding_errors="replace") == ["caf\ufffd au lait"]
    (tmp_path / "a.json").write_bytes(b'["caf\xe9 au lait", "\xc3"]')
    assert documents(tmp_path / "a.json", encoding_errors="replace") == ["caf\ufffd au lait", "\ufffd"]


def test_lines_and_stories_beyond_any_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "MAX_BYTES", 1000)
    (tmp_path / "line.txt").write_text("One.\n" + "x" * 1001)
    with pytest.raises(CorpusError, match="line 2 is longer than"):
        documents(tmp_path / "line.txt")
    (tmp_path / "story.txt").write_text("One.\n<|endoftext|>\n" + "A line of it.\n" * 100)
    with pytest.raises(
        CorpusError, match=r"story that ends after line \d+ is longer than .*<\|endoftext\|> missing"
    ):
        documents(tmp_path / "story.txt")
    (tmp_path / "a.json").write_text(json.dumps(["One.", "x" * 1001]))
    with pytest.raises(CorpusError, match=r"a\.json, row 2 is longer than 0 MiB \(1,001 bytes\)"):
        documents(tmp_path / "a.json")
    pq.write_table(pa.table({"text": ["One."] * 1500 + ["é" * 501]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"a\.parquet, row 1501 is longer than"):
        documents(tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="row 1 of the stories passed is longer than"):
        list(sources.from_python(["One.", {"text": "x" * 1001}], "text").stories)


@given(st.lists(st.integers()), st.integers(1, 5))
def test_batches_hold_every_document_once(numbers: list[int], size: int):
    texts = [str(n) for n in numbers]
    for stories in (texts, iter(texts)):
        batches = list(Source("", "", stories).batches(size))
        assert [text for batch in batches for text in batch] == texts
        assert all(len(batch) == size for batch in batches[:-1])


def test_storyteller_stories_are_made_on_demand():
    stories = storyteller.stories(10, seed=3)
    assert list(stories[4:6]) == [storyteller.tell(3, 4), storyteller.tell(3, 5)]
    assert len(stories[8:20]) == 2
