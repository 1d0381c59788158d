import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aurelius.corpus.sources import open_file, open_source
from aurelius.errors import CorpusError
from aurelius.sections import CorpusRecipe


def documents(path: Path, **options) -> list[str]:
    return list(open_file(path, **options).stories)


def test_separated_text(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffOne.\n\nStill one.  \n<|endoftext|>\r\n\nTwo.\n<|endoftext|>\nThree".encode())
    assert documents(path) == ["One.\n\nStill one.  ", "Two.", "Three"]
    assert "<|endoftext|>" in open_file(path).format


def test_text_without_separators_parts_at_blank_lines_and_says_so(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("\nOne.\nStill one.\n\n \n\nTwo.")
    assert documents(path) == ["One.\nStill one.", "Two."]
    assert "blank lines" in open_file(path).format


def test_jsonl_and_parquet_give_the_same_documents(tmp_path: Path):
    stories = ["One.\nTwo.", "“Three” 🎈"]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"story": s}) for s in stories) + "\n\n")
    pq.write_table(pa.table({"story": stories}), tmp_path / "a.parquet")
    assert documents(tmp_path / "a.jsonl", column="story") == stories
    assert documents(tmp_path / "a.parquet", column="story") == stories


def test_nothing_is_an_empty_story_in_both(tmp_path: Path):
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
    source = open_source(CorpusRecipe(stories=5))
    assert source.count == 5 and len(list(source.stories)) == 5


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b"text\n\0\x01binary", "zero byte stands in line 2"),
        ("a.txt", b"caf\xe9 au lait", "byte 0xe9 at 3 (line 1)"),
        ("a.csv", b"a,b", "type '.csv'"),
        ("a.jsonl", b'{"text": "ok"}\n{oops', "line 2 is not JSON"),
        ("a.jsonl", b'{"story": "ok"}', "keys story"),
        ("a.jsonl", b"[" * 200_000, "line 1 is not JSON"),
        ("a.jsonl", b'{"text": 3}', "no text under 'text'"),
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


def test_a_parquet_file_with_a_damaged_page(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"story {n}" * 50 for n in range(999)]}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"a\.parquet is damaged"):
        documents(path)


def test_missing_files_folders_and_columns(tmp_path: Path):
    with pytest.raises(CorpusError, match="is not there"):
        documents(tmp_path / "no.txt")
    with pytest.raises(CorpusError, match="is a folder"):
        documents(tmp_path)
    pq.write_table(pa.table({"story": ["x"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="no column 'text', but story, n"):
        documents(tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="holds int64"):
        documents(tmp_path / "a.parquet", column="n")


@pytest.mark.parametrize("name", ["hf:", "hf:owner", "hf:owner/data", "hf:owner/data/", "hf:/data/file"])
def test_incomplete_hub_names(name: str):
    with pytest.raises(CorpusError, match="hf:owner/dataset/file"):
        open_source(CorpusRecipe(source=name))


def test_several_sources_are_read_one_after_the_other(tmp_path: Path):
    (tmp_path / "a.txt").write_text("One.\n<|endoftext|>\nTwo.\n")
    (tmp_path / "b.jsonl").write_text('{"text": "Three."}\n')
    recipe = CorpusRecipe(source=[str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl")])
    source = open_source(recipe)
    assert list(source.stories) == ["One.", "Two.", "Three."]
    assert [path.name for path in source.files] == ["a.txt", "b.jsonl"]
    assert "a.txt and " in source.name and "jsonl" in source.format
