"""What a budget of time becomes, on machines and corpora that the tests make up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelius.config.auto import (
    CorpusFacts,
    Speed,
    choose,
    expected,
    operations,
    shapes,
    training_settings,
)

STORIES = CorpusFacts(18.0, 800.0, 1300.0, True)
LAPTOP = Speed(4e-6, 6e-12)  # two cores: 27,000 tokens/s at 0.79 million parameters


def test_more_time_and_a_faster_machine_get_a_larger_model():
    found = [choose(STORIES, 60 * minutes, LAPTOP)[0] for minutes in (1, 4, 15, 60, 240)]
    sizes = [choice.parameters for choice in found]
    assert sizes == sorted(sizes) and len(set(sizes)) >= 3
    assert [c.bits_per_byte for c in found] == sorted((c.bits_per_byte for c in found), reverse=True)
    half = Speed(2 * LAPTOP.overhead, 2 * LAPTOP.per_operation)
    slower = [choose(STORIES, 60 * minutes, half)[0].parameters for minutes in (1, 4, 15, 60, 240)]
    assert slower != sizes and all(a <= b for a, b in zip(slower, sizes, strict=True))


def test_a_smaller_corpus_gets_another_shape():
    small = CorpusFacts(0.6, 800.0, 1300.0, True)
    plenty, little = (choose(facts, 900, LAPTOP)[0] for facts in (STORIES, small))
    assert little.vocab_size < plenty.vocab_size and little.epochs > 20 > plenty.epochs
    short = choose(CorpusFacts(18.0, 300.0, 420.0, True), 900, LAPTOP)[0]
    assert short.model.context < plenty.model.context


@given(st.floats(0.05, 5000), st.floats(50, 5000))
def test_every_shape_can_be_exported(megabytes: float, longest: float):
    for model, vocab_size in shapes(CorpusFacts(megabytes, 100.0, longest, False)):
        sizes = (model.d_model, model.d_mlp, model.context, model.head_dim, vocab_size)
        assert all(size % 32 == 0 for size in sizes), "Q4_0 and Q8_0 quantise blocks of 32"
        assert model.parameters(vocab_size) <= 10_000_000


def test_repeated_stories_count_less():
    model, vocab_size = next(iter(shapes(STORIES)))
    fresh, four, forty = (expected(model, vocab_size, 160, unique) for unique in (math.inf, 40, 4))
    assert fresh < four < fresh + 0.01 < forty, "four epochs are nearly as good as fresh stories"


def test_the_speed_of_a_shape_follows_from_two():
    ladder = list(shapes(STORIES))
    true = Speed(5e-6, 1e-11)
    timed = [(operations(*shape), 1 / true.tokens_per_second(*shape)) for shape in ladder]
    fitted = Speed.fitted([timed[0], timed[-1]])
    for shape in ladder:
        assert fitted.tokens_per_second(*shape) == pytest.approx(true.tokens_per_second(*shape))
    odd = Speed.fitted([(1e6, 2e-5), (5e6, 1e-5)])  # the first was timed while the machine was busy
    assert odd.overhead >= 0 and odd.per_operation >= 0


def test_long_trainings_have_lower_rates_and_larger_batches():
    found = [training_settings(tokens, 352) for tokens in (1e6, 2e7, 1e8, 1e12)]
    assert [settings["training.batch"] for settings in found] == [4, 4, 32, 64]
    assert [settings.get("optimizer.learning_rate") for settings in found][:2] == [None, 0.01]
