import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelius.corpus.readers import reader
from aurelius.corpus.readers.reader import File, ReadOptions
from aurelius.corpus.readers.sources import open_path
from aurelius.corpus.readers.tables import SAMPLE
from aurelius.corpus.readers.text import text as read_text
from aurelius.errors import CorpusError

STORY = 'Tom saw a cat.\n\nIt said, "Hello, Tom," and ran.\n\nThe end.'


def how(text: str | bytes, column: str = "text") -> str:
    content = text if isinstance(text, bytes) else text.encode()
    return read_text(
        File("a.txt", lambda: io.BufferedReader(io.BytesIO(content))), ReadOptions(column)
    ).format


def table(rows: list[list[str]], **options) -> str:
    file = io.StringIO()
    csv.writer(file, **options).writerows(rows)
    return file.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        table([["id", "story"]] + [[str(n), STORY] for n in range(3)]),
        table([[str(n), STORY] for n in range(3)]),
        table([[STORY, "Tom"] for _ in range(3)], delimiter=";"),
        table([[str(n), "", "A cat sat."] for n in range(3)], delimiter="\t"),
        table([["", "story"]] + [[str(n), "A cat sat."] for n in range(3)]),  # as pandas numbers rows
        table([[str(n), (" " if n == 5 else "") + STORY] for n in range(9)]),
        table([[str(n), STORY * 20] for n in range(9999)]),
        table([[str(n), "cat"] for n in range(99)]).replace("\r\n", "\n\n"),
        table([["é" * 3, STORY] for _ in range(9999)]),
    ],
)
def test_tables_saved_as_text_are_refused(text: str):
    with pytest.raises(CorpusError, match=r"a\.txt is a table in CSV; save it as"):
        how(text)


@pytest.mark.parametrize(
    "text",
    [
        STORY,
        "\n".join([STORY] * 99),
        "Roses are red,\nViolets are blue,\nTom has a cat,\n",  # a column with nothing in it
        "\tTom had a cat.\n\tIt ran.\n\tThe end.\n",
        "Tom, a boy\nAnn, a girl\nSue, a cat\n",
        "Oh, red,\nOh, blue,\nOh, cat,\n",
        "id,story\n",
        "",
        "a,b" * SAMPLE,  # one line
        ('1,"' + "x" * 200_000 + '"\n') * 3,  # a field longer than the csv module reads
    ],
)
def test_prose_is_not_a_table(text: str):
    assert "text" in how(text)


WORDS = st.sampled_from(["Tom", "a", "cat", "ran", '"Go!"', "don't", "said"])
GAPS = st.sampled_from([" ", " ", " ", ", ", "; ", ". ", '," ', ', "', ".\n", ".\n\n"])


@given(st.lists(st.tuples(WORDS, GAPS), max_size=60))
def test_prose_has_a_space_after_its_commas(words: list[tuple[str, str]]):
    assert "text" in how("".join(word + gap for word, gap in words))


def test_real_stories_are_not_tables(train_sample: Path, valid_sample: Path):
    for sample in (train_sample, valid_sample, train_sample.with_name("TinyStories-v1-train.sample.jsonl")):
        stories = list(open_path(sample).stories)
        assert "text" in how("\n\n".join(stories))
        for story in stories[:2000]:
            assert "text" in how(story)


def test_byte_positions_count_the_byte_order_mark():
    with pytest.raises(CorpusError, match=r"byte 0xe9 at 6 \(line 1\)"):
        how(b"\xef\xbb\xbfcaf\xe9")


def test_the_length_of_a_story_is_that_of_its_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "MAX_BYTES", 1000)
    text = "é é é\n" * 150
    file = File("a.txt", lambda: io.BufferedReader(io.BytesIO(text.encode())))
    with pytest.raises(CorpusError, match="story that ends after line 112 is longer"):
        list(read_text(file, ReadOptions()).texts)
