import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aurelius.evaluation.copies import SuffixAutomaton, copied, words_of

STORIES = st.lists(st.lists(st.sampled_from("abc"), max_size=14).map(" ".join), max_size=5)


@given(STORIES, STORIES)
@example(["a b a b b", "b a b b", "b"], ["a b b", "b a"])
def test_at_every_word_the_longest_copied_span_is_found(texts: list[str], corpus: list[str]):
    padded = [f" {text} " for text in corpus]

    def longest(words: list[str]) -> int:
        spans = (words[first:] for first in range(len(words)))
        return next((len(s) for s in spans if any(f" {' '.join(s)} " in text for text in padded)), 0)

    expected = [[longest(text.split()[:end]) for end in range(1, len(text.split()) + 1)] for text in texts]
    assert [found.tolist() for found in copied(texts, corpus)] == expected


def test_a_span_does_not_run_on_into_the_next_story():
    (found,) = copied(["once a dog ran far"], ["once a dog", "ran far"])
    assert found.tolist() == [1, 2, 3, 1, 2]
    first, second = copied(["once a", "dog ran"], ["once a dog ran"])
    assert (first.tolist(), second.tolist()) == ([1, 2], [1, 2])


def test_capitals_and_punctuation_make_no_difference():
    (found,) = copied(['"Don\'t go!" said Tom -- twice.'], ["Don't, go? SAID tom; twice"])
    assert found.tolist() == [1, 2, 3, 4, 5]
    assert words_of("It’s Tom's café, No. 2!") == ["it’s", "tom's", "café", "no", "2"]


def test_nothing_to_compare():
    assert [found.tolist() for found in copied(["a b", "...", ""], [])] == [[0, 0], [], []]
    assert copied([], ["a b"]) == []


def test_memory_depends_on_the_texts_alone():
    def peak(stories: int) -> int:
        random = np.random.default_rng(0)
        corpus = (" ".join(map(str, random.integers(0, 500, 100))) for _ in range(stories))
        tracemalloc.start()
        copied([" ".join(map(str, range(400)))], corpus)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(600) == pytest.approx(peak(6), rel=0.1)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=12), max_size=5))
def test_an_automaton_has_at_most_two_states_for_every_word(texts: list[list[str]]):
    automaton = SuffixAutomaton()
    for words in texts:
        state = 0
        for length, word in enumerate(words, 1):
            state = automaton.extend(state, word)
            assert automaton.length[state] == length
    assert len(automaton.length) <= 1 + 2 * sum(map(len, texts))
