import re
from bisect import bisect
from collections import Counter
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aurelius.corpus.readers.sources import open_path
from aurelius.errors import CorpusError
from aurelius.evaluation.coherence import (
    Question,
    answer,
    measure_coherence,
    name_questions,
    pronoun_questions,
    sentence_questions,
)
from aurelius.evaluation.intervals import Share
from aurelius.inference.run_model import RunModel
from tests.evaluation.test_pairs import Bytes, likes

KINDS = [sentence_questions, name_questions, pronoun_questions]
Kind = Callable[..., list[Question]]


@pytest.fixture(scope="module")
def documents(valid_sample: Path) -> list[str]:
    return [text for text in open_path(valid_sample).stories if text][:1000]


def names_in(text: str) -> set[str]:
    """Return the capitalised words within sentences."""
    return set(re.findall(r"(?<=[a-z,] )[A-Z][a-z]+\b", text))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_choice_is_how_a_story_goes_on(kind: Kind, documents: list[str]):
    asked = kind(documents, 200)
    assert len(asked) == 200 == len({question.story for question in asked})
    for question in asked:
        true, *others = (question.story + choice for choice in question.choices)
        assert any(text.startswith(true) for text in documents)
        assert not any(text.startswith(other) for text in documents for other in others)
        assert len(set(question.choices)) == len(question.choices)
        assert len(re.findall(r"[.!?…]", question.story)) >= 2, "there is something to go on"


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_what_is_asked(kind: Kind, documents: list[str]):
    assert kind(documents, 30, seed=1) == kind(documents, 30, seed=1)
    assert kind(documents, 30, seed=1) != kind(documents, 30, seed=2)
    assert kind(documents, 10) == kind(documents, 30)[:10]


def test_wrong_sentences_come_from_other_stories_and_name_nobody_new(documents: list[str]):
    for question in sentence_questions(documents, 100):
        assert len(question.choices) == 5 and question.story[-1].isspace()
        assert all(4 <= len(sentence.split()) <= 30 for sentence in question.choices)
        mentioned = set(re.findall(r"\w+", question.story))
        for sentence in question.choices[1:]:
            words = set(re.findall(r"\w+", sentence))
            sources = [names_in(text) for text in documents if sentence in text]
            assert any(names & mentioned and names & words <= mentioned for names in sources)


def test_wrong_names_are_mostly_strangers(documents: list[str]):
    for question in name_questions(documents, 100):
        true, *others = (re.sub(r"\W", "", choice) for choice in question.choices)
        assert len(others) == 4 and true in question.story
        assert sum(name in question.story for name in others) <= 1
        assert len({re.sub(r"^\w+", "", choice) for choice in question.choices}) == 1


def test_a_pronoun_is_he_or_she(documents: list[str]):
    pairs = [{"he", "she"}, {"himself", "herself"}]
    for question in pronoun_questions(documents, 100):
        words = [re.sub(r"\W", "", choice) for choice in question.choices]
        assert {word.lower() for word in words} in pairs
        assert words[0][0].isupper() == words[1][0].isupper()


def alike(one: bytes, two: bytes) -> int:
    """Return how many bytes at the beginning are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))


def knows(documents: list[str]) -> Bytes:
    """Return a model that knows some documents by heart, and nothing else."""
    shelf = sorted(text.encode() for text in documents)

    def logits(ids: Tensor) -> Tensor:
        found = torch.zeros(*ids.shape, 258)
        for row, sequence in zip(found, ids.tolist(), strict=True):
            written = bytes(sequence[1:]).rstrip(b"\0")
            place = bisect(shelf, written)
            common, text = max((alike(text, written), text) for text in shelf[max(place - 1, 0) : place + 1])
            following = torch.tensor(list(text[: common + 1]))
            row[torch.arange(len(following)), following] = 20.0
        return found

    return Bytes(logits, context=4096)


def test_a_model_that_knows_the_stories_answers_everything_right(documents: list[str]):
    found = measure_coherence(knows(documents), documents, count=12)
    assert {kind: answers.model for kind, answers in found.items()} == {
        "sentence": Share(12, 12),
        "name": Share(12, 12),
        "pronoun": Share(12, 12),
    }
    assert [answers.chance for answers in found.values()] == [1 / 5, 1 / 5, 1 / 2]


def test_a_model_that_knows_nothing_guesses(
    documents: list[str], tiny_run: Path, monkeypatch: pytest.MonkeyPatch
):
    model = RunModel(tiny_run, "cpu")
    monkeypatch.setattr(model, "logits", lambda ids: torch.zeros(1).expand(*ids.shape, 420))
    found = answer(model, sentence_questions(documents, 150), Counter("a"), per_byte=True)
    assert found and 0.1 < found.model.value < 0.3


def test_equal_scores_are_wrong_answers():
    indifferent = Bytes(lambda ids: torch.zeros(*ids.shape, 258))
    asked = [Question("Once ", ["ab", "cd"]), Question("Once ", ["cd", "ab"])]
    found = answer(indifferent, asked, Counter(ab=3, cd=3), per_byte=False)
    assert found and (found.model.count, found.unigram.count) == (0, 0)


@pytest.mark.parametrize(
    "choices, per_byte, by_all_bytes", [(["zzzzzz", "az"], 1, 0), (["zz", "az" + "z" * 8], 1, 1)]
)
def test_choices_of_different_lengths_are_compared_by_the_byte(
    choices: list[str], per_byte: int, by_all_bytes: int
):
    asked = [Question("Once " * 19 + "Once", choices)]
    found = [answer(likes("z"), asked, Counter("a"), how) for how in (True, False)]
    assert [each.model.count for each in found if each] == [per_byte, by_all_bytes]


def test_word_frequencies_answer_with_the_most_frequent_word():
    asked = [Question("Once ", ["the ", "cat "]), Question("Once ", ["cat ", "The "])]
    found = answer(likes("z"), asked, Counter(the=9, cat=1), per_byte=False)
    assert found and found.unigram == Share(1, 2)


def test_nobody_to_ask_about():
    silent = ["It rained. It snowed. It rained again. The sun came out at last."] * 20
    with pytest.raises(CorpusError, match="no question about the stories can be made of 20 documents"):
        measure_coherence(likes("z"), silent)
    assert answer(likes("z"), [], Counter("a"), per_byte=True) is None
