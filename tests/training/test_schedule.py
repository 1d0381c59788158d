from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelius.config.recipe import Recipe
from aurelius.training.schedule import Decay, Schedule


@given(st.integers(1, 5000), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 1))
def test_the_rate_rises_stays_and_falls(steps: int, warmup: float, decay: float, final: float):
    recipe = Recipe.load("nano", {"training.steps": steps, "training.warmup": warmup}).training
    recipe = recipe.model_copy(update={"decay": decay, "final_rate": final})
    rates = [Schedule(recipe).share(step) for step in range(steps)]
    assert all(0 < r <= 1 for r in rates)
    peak = rates.index(max(rates))
    assert all(a <= b for a, b in pairwise(rates[: peak + 1]))
    assert all(a >= b - 1e-12 for a, b in pairwise(rates[peak:]))


def test_the_rate_at_its_corners():
    recipe = Recipe.load("nano", {"training.steps": 100}).training
    recipe = recipe.model_copy(update={"warmup": 0.1, "decay": 0.2, "final_rate": 0.1})
    schedule = Schedule(recipe)
    assert (schedule.end, schedule.decay_step) == (100, 80)
    assert schedule.share(0) == pytest.approx(1 / 11)
    assert schedule.share(10) == schedule.share(79) == 1
    assert schedule.share(90) == pytest.approx(0.55)
    assert schedule.share(99) == pytest.approx(0.145)


def test_a_continued_training_warms_up_again():
    recipe = Recipe.load("nano", {"training.steps": 100}).training
    schedule = Schedule(recipe.model_copy(update={"warmup": 0.1}), timed=True)
    schedule.begin, schedule.peak = 100, 0.5
    assert [schedule.share(step) for step in (100, 105, 110, 150)] == pytest.approx(
        [1 / 22, 3 / 11, 0.5, 0.5]
    )
    schedule.decays = [Decay(150, 200)]
    assert schedule.share(175) == pytest.approx(0.25)


def test_a_later_decay_goes_on_from_the_rate_that_was_reached():
    recipe = Recipe.load("nano", {"training.steps": 100}).training
    schedule = Schedule(recipe.model_copy(update={"warmup": 0.0}), timed=True)
    assert schedule.end is None and schedule.decay_step is None and schedule.share(99) == 1
    schedule.decays = [Decay(50, 90), Decay(70, 110)]
    assert (schedule.end, schedule.decay_step) == (110, 50)
    assert [schedule.share(step) for step in (50, 60, 70, 90, 110)] == pytest.approx([1, 0.75, 0.5, 0.25, 0])
