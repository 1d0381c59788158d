from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aurelius.corpus.clean import clean, select
from aurelius.progress import Task
from aurelius.sections import CorpusRecipe


def run(texts: list[str], **options: Any):
    return select(texts, CorpusRecipe.model_validate({"min_words": 1} | options), Task("", None, ""))


def test_clean_touches_line_ends_and_the_outside_only():
    assert clean("\r\n One.  \r\nTwo\r \n\nThree \n") == "One.  \nTwo\n \n\nThree"


def test_every_dropped_story_is_counted_with_its_reason():
    stories = ["", " \n", "one two three", "one two three ", "one", "a " * 9]
    split = run(stories, min_words=2, max_words=8)
    assert split.read == 6
    assert split.dropped == {
        "empty": 2,
        "repeated word for word": 1,
        "under 2 words": 1,
        "over 8 words": 1,
    }
    assert len(split.train) + len(split.valid) == 1


@given(st.sets(st.text("abc", min_size=1), min_size=2, max_size=4), st.floats(0.001, 0.49))
def test_no_side_is_empty_of_two_stories(stories, fraction):
    split = run(sorted(stories), valid_fraction=fraction)
    assert split.train and split.valid


def test_a_cap_counts_the_stories_that_are_kept():
    split = run(["one", "one", "two", "", "three", "four"], stories=3)
    assert split.train + split.valid and len(split.train) + len(split.valid) == 3
    assert (split.read, sum(split.dropped.values())) == (5, 2)


@given(st.lists(st.text("abc ", min_size=1), max_size=60), st.integers(0, 2**63 - 1))
def test_nothing_is_lost_and_nothing_is_on_both_sides(stories, seed):
    split = run(stories, valid_fraction=0.3, seed=seed)
    assert split.read == len(stories) == len(split.train) + len(split.valid) + sum(split.dropped.values())
    assert not set(split.train) & set(split.valid)
    assert set(split.train) | set(split.valid) == {clean(s) for s in stories} - {""}


def test_a_story_keeps_its_side_whatever_else_is_read():
    stories = [f"story number {n}" for n in range(400)]
    whole, half = run(stories, valid_fraction=0.2), run(stories[::-2], valid_fraction=0.2)
    assert set(half.valid) <= set(whole.valid)
    assert set(half.train) <= set(whole.train)
    assert 40 < len(whole.valid) < 130, "about a fifth"
    assert set(run(stories, valid_fraction=0.2, seed=1).valid) != set(whole.valid)
