"""How texts are split into stories: the layouts in which people keep them, with the stories they hold."""

import codecs
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelius.corpus.readers.reader import END_MARKS, START_MARKS, ReadOptions
from aurelius.corpus.readers.separators import Separator, detect
from aurelius.corpus.readers.sources import open_path
from aurelius.errors import CorpusError

ONE = "Tom had a red ball and he loved it so much that he took it to bed with him on every night of the year."
TWO = "Ann saw a big dog.\n\nThe dog was kind.\nIt gave her its paw, and she took it home."
THREE = "A bird sang."
STORIES = [ONE, TWO, THREE]


def read(tmp_path: Path, text: str | bytes, separator: str = "auto") -> list[str]:
    path = tmp_path / "a.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(open_path(path, ReadOptions(separator=separator)).stories)


@pytest.mark.parametrize("mark", END_MARKS)
@pytest.mark.parametrize("around", ["\n{}\n", "{}\n", " {} ", "{}", "\n\n{}\n\n"])
def test_end_marks_separate_wherever_they_stand(tmp_path: Path, mark: str, around: str):
    assert [s.strip() for s in read(tmp_path, around.format(mark).join(STORIES) + mark)] == STORIES


@pytest.mark.parametrize("start", START_MARKS)
@pytest.mark.parametrize("end", ["", "<|endoftext|>\n", "</s>"])
def test_start_marks_are_removed(tmp_path: Path, start: str, end: str):
    text = "".join(f"{start} {story}{end}" for story in STORIES)
    assert [s.strip() for s in read(tmp_path, text) if s] == STORIES


@pytest.mark.parametrize("rule", ["---", "***", "* * *", "=====", "###", "~~~~"])
def test_rules_separate(tmp_path: Path, rule: str):
    assert read(tmp_path, f"\n\n{rule}\n\n".join(STORIES)) == STORIES
    assert read(tmp_path, f"\n{rule}\n".join(STORIES)) == STORIES


@pytest.mark.parametrize("blank", ["\n\n\n", "\n\n\n\n", "\n \n\t\n"])
def test_two_blank_lines_separate_where_single_ones_are_within_stories(tmp_path: Path, blank: str):
    assert [s.strip() for s in read(tmp_path, blank.join(STORIES))] == STORIES


def test_a_story_per_line(tmp_path: Path):
    assert read(tmp_path, f"{ONE}\n{ONE}\n") == [ONE, ONE]
    quoted = [f'"{ONE}"', '"Tom said, ""Go!"" and ran."', '"It said \\"no\\".\\nThe end."']
    expected = [ONE, 'Tom said, "Go!" and ran.', 'It said "no".\nThe end.']
    assert read(tmp_path, "\n".join(quoted)) == expected


def test_wrapped_prose_is_one_story(tmp_path: Path):
    wrapped = (
        "Once there was a boy who had a red ball and a blue ball and a green one, and he took them\n" * 9
    )
    assert len(read(tmp_path, wrapped)) == 1


@pytest.mark.parametrize(
    ("separator", "text", "expected"),
    [
        ("line", "One.\nTwo.\n\nThree.\n", ["One.", "Two.", "Three."]),
        ("blank", "One.\nStill.\n\n\nTwo.<|endoftext|>\n", ["One.\nStill.", "Two.<|endoftext|>"]),
        ("file", "One.\n\nTwo.\n---\nThree.\n", ["One.\n\nTwo.\n---\nThree."]),
        ("@@", "One.@@Two.\n@@\nThree.", ["One.", "Two.", "Three."]),
        ("\\t", "One.\tTwo.", ["One.", "Two."]),
    ],
)
def test_the_separator_that_is_named(tmp_path: Path, separator: str, text: str, expected: list[str]):
    assert read(tmp_path, text, separator) == expected


def test_a_folder_of_short_files_without_marks_has_a_story_in_each(tmp_path: Path):
    for number, story in enumerate(STORIES):
        (tmp_path / f"{number}.txt").write_text(story)
    source = open_path(tmp_path)
    assert list(source.stories) == STORIES
    assert source.format == "text, one story per file"
    (tmp_path / "3.txt").write_text("Four.<|endoftext|>Five.")
    assert list(open_path(tmp_path).stories) == [*STORIES, "Four.", "Five."]


def test_names_that_are_not_stories_are_skipped_and_counted(tmp_path: Path):
    for name in ("._a.txt", ".git/b.txt", "LICENSE.txt", "README.txt", "sub/.hidden/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\x00\x05")
    with pytest.raises(
        CorpusError, match="without stories \\(5 hidden, licence or readme files were skipped"
    ):
        open_path(tmp_path)
    (tmp_path / "a.txt").write_text(ONE)
    source = open_path(tmp_path)
    assert list(source.stories) == [ONE]
    assert sum(map(len, source.skipped)) == 5
    assert list(open_path(tmp_path / "._a.txt".replace("._", "")).stories) == [ONE]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str):
    mark = codecs.BOM_UTF16_LE if encoding == "utf-16-le" else codecs.BOM_UTF16_BE
    text = "<|endoftext|>".join([*STORIES, "Zoé 🎈 " * 20_000])
    assert read(tmp_path, mark + text.encode(encoding)) == text.split("<|endoftext|>")
    with pytest.raises(CorpusError, match="begins like UTF-16 text but is not valid"):
        read(tmp_path, mark + text.encode(encoding)[:-1])


@pytest.mark.parametrize(
    "kind", [pa.dictionary(pa.int32(), pa.string()), pa.string_view(), pa.large_string()]
)
def test_parquet_text_of_every_kind_is_read(tmp_path: Path, kind: pa.DataType):
    pq.write_table(pa.table({"text": pa.array(STORIES).cast(kind)}), tmp_path / "a.parquet")
    assert list(open_path(tmp_path / "a.parquet").stories) == STORIES


@given(st.lists(st.text(alphabet="ab .,\r", min_size=1).map(lambda s: f"x{s}x"), min_size=2, max_size=9))
def test_splitting_at_a_mark_undoes_joining(stories: list[str]):
    for mark in END_MARKS:
        lines = mark.join(stories).splitlines(keepends=True)
        assert list(detect(lines).split(lines, "a.txt")) == stories


@given(st.lists(st.sampled_from(["One.", "", "---", "***", '"Two."', "<s>", "a b " * 20]), max_size=30))
def test_whatever_the_layout_all_words_are_kept(lines: list[str]):
    text = [line + "\n" for line in lines]
    for separator in (
        detect(text),
        Separator("blank"),
        Separator("blanks"),
        Separator("line"),
        Separator("file"),
    ):
        assert _words(" ".join(separator.split(text, "a.txt"))) == _words("".join(text))


def _words(text: str) -> list[str]:
    return [word.strip('"') for word in text.split() if word not in ("---", "***", "<s>")]
