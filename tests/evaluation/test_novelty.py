from collections.abc import Iterator
from pathlib import Path

import pytest

from aurelius.data.stories import StoryFile, read_stories
from aurelius.errors import CorpusError
from aurelius.evaluation import novelty
from aurelius.evaluation.copies import copied
from aurelius.evaluation.instruments import INSTRUMENTS, Subject, examine
from aurelius.evaluation.intervals import Share
from aurelius.evaluation.novelty import Novelty, figures, measure_novelty
from aurelius.evaluation.pairs import Paradigm
from aurelius.inference.batch import Written
from aurelius.inference.open_model import open_model
from aurelius.inference.run_model import RunModel
from aurelius.inference.sampling import Sampling
from aurelius.inference.stories import stories


@pytest.fixture(scope="module")
def model(tiny_storyteller: Path) -> RunModel:
    return RunModel(tiny_storyteller, "cpu")


@pytest.fixture(scope="module")
def held_out(tiny_storyteller: Path) -> list[str]:
    return read_stories(tiny_storyteller / "corpus", "valid")


@pytest.fixture(scope="module")
def found(model: RunModel, held_out: list[str], tiny_storyteller: Path) -> Novelty:
    return measure_novelty(model, held_out, StoryFile(tiny_storyteller / "corpus", "train"), count=24)


def test_the_model_tells_what_it_tells_by_default(found: Novelty, model: RunModel, tiny_storyteller: Path):
    expected = sorted(stories(tiny_storyteller, 24, max_new_tokens=0), key=lambda story: story.seed)
    assert found.stories == expected
    assert found.sampling == model.sampling.model_copy(update={"max_new_tokens": 0})
    told = found.as_json()["sampling"]
    assert (told["temperature"], told["prompt"], told["seeds"]) == (1.0, "", "0 to 23")


def test_figures_are_of_as_many_stories_and_held_out_ones(found: Novelty):
    assert found.written.texts == found.held_out.texts == 24
    for each in (found.written, found.held_out):
        shares = (each.seen_5, each.seen_10, each.distinct_2, each.distinct_3, each.self_bleu)
        assert all(0 < share < 1 for share in shares)
        assert each.seen_10 < each.seen_5 and each.distinct_2 < each.distinct_3
        assert 1 <= each.median_copy <= each.longest_copy
    assert {type(value) for value in vars(found.held_out).values()} == {int, float}, "no NumPy types"
    assert set(found.as_json()) == {
        "sampling", "stories", "held_out", "ended_within_128_tokens", "ended_within_context"
    }  # fmt: skip


def test_who_was_trained_on_these_very_stories_copies_all_of_them(
    found: Novelty, model: RunModel, held_out: list[str]
):
    texts = [story.text for story in found.stories]
    again = measure_novelty(model, held_out, iter([*texts, *held_out[1:]]), count=24)
    assert again.stories == found.stories
    assert again.written.seen_5 == again.written.seen_10 == 1
    words = [[word for word in text.split() if any(map(str.isalnum, word))] for text in texts]
    assert again.written.longest_copy == max(map(len, words)), "marks are no words"
    assert again.held_out.seen_10 < 1, "but for the first one"
    alone = measure_novelty(model, held_out, [], count=24).written
    assert alone.seen_5 == alone.seen_10 == alone.longest_copy == alone.median_copy == 0
    assert alone.self_bleu == found.written.self_bleu


def test_stories_that_end_are_counted(model: RunModel, monkeypatch: pytest.MonkeyPatch):
    ends = [(300, True), (128, True), (129, True), (40, False), (7, True)]
    told = [Written(n, "", n, "A cat sat.", tokens, ended) for n, (tokens, ended) in enumerate(ends)]
    monkeypatch.setattr(novelty, "stories", lambda *_, **__: reversed(told))
    found = measure_novelty(model, ["A dog ran."] * 5, [], count=5)
    assert (found.ended, found.ended_short, found.stories) == (Share(4, 5), Share(2, 5), told)
    assert found.as_json()["ended_within_128_tokens"]["share"] == 0.4


def test_models_that_cannot_begin_or_vary_are_helped(tiny_storyteller: Path, held_out: list[str]):
    greedy = RunModel(tiny_storyteller, "cpu")
    greedy.sampling, greedy.prefix = Sampling(temperature=0), []
    found = measure_novelty(greedy, held_out, [], count=3)
    assert (found.prompt, found.sampling.temperature, found.sampling.min_p) == ("Once upon a time", 0.8, 0.1)
    assert len({story.text for story in found.stories}) == 3
    assert all(story.text.startswith("Once upon a time") for story in found.stories)
    cold = measure_novelty(greedy, held_out, [], count=3, sampling=Sampling(temperature=0))
    assert len({story.text for story in cold.stories}) == 1, "if one asks for it"
    assert cold.written.self_bleu == pytest.approx(1)


def test_figures_by_hand():
    corpus = ["a b c d e f g h i j k"]
    texts = ["A b c d e f g h i j!", "x b c d e f", "x y"]
    found = figures(texts, copied(texts, corpus), 99)
    assert (found.texts, found.longest_copy, found.median_copy) == (3, 10, 5)
    assert found.seen_5 == pytest.approx((6 + 1) / (6 + 2))
    assert found.seen_10 == 1, "the only one"
    assert found.distinct_2 == pytest.approx((9 + 1 + 1) / (9 + 5 + 1))
    assert (found.repetition, found.looping) == (0, 0)
    assert figures([], [], 99).texts == 0


def test_novelty_needs_the_training_stories(model: RunModel, held_out: list[str]):
    with pytest.raises(CorpusError, match=r"novelty needs the stories .* evaluate --trained-on FILE"):
        examine(Subject(model, held_out), ["novelty"])


def test_training_stories_are_read_once(model: RunModel, held_out: list[str]):
    reads = 0

    def trained_on() -> Iterator[str]:
        nonlocal reads
        reads += 1
        yield from held_out

    figures = examine(Subject(model, held_out, trained_on, full=False), ["novelty"])["novelty"]
    assert reads == 1 and figures["held_out"]["seen_10"] == 1


def test_every_instrument_by_its_name(tiny_storyteller: Path, held_out: list[str]):
    pairs = [Paradigm("verbs", [("he go .", "he goes .")] * 150)]
    for folder in (tiny_storyteller, tiny_storyteller / "export/huggingface"):
        model = open_model(folder, "cpu")
        subject = Subject(model, held_out, lambda: held_out, pairs, full=False)
        found = examine(subject, reversed(INSTRUMENTS))
        assert list(found) == [*reversed(INSTRUMENTS)]
        assert found["pairs"]["paradigms"]["verbs"]["of"] == 100, "a quick look"
        assert found["novelty"]["stories"]["texts"] == 32
        assert found["gap"]["gap"] == 0, "the same stories on both sides"
        assert set(found["positions"]) <= {"0", "4", "16", "64", "128", "256", "512", "1024"}
        assert examine(subject, []) == {}
