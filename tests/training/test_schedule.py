from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelius.config.recipe import Recipe
from aurelius.training.schedule import learning_rate_share


@given(st.integers(1, 5000), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 1))
def test_the_rate_rises_stays_and_falls(steps: int, warmup: float, decay: float, final: float):
    recipe = Recipe.load("nano", {"training.steps": steps, "training.warmup": warmup}).training
    recipe = recipe.model_copy(update={"decay": decay, "final_rate": final})
    rates = [learning_rate_share(step, recipe) for step in range(steps)]
    assert all(0 < r <= 1 for r in rates)
    peak = rates.index(max(rates))
    assert all(a <= b for a, b in pairwise(rates[: peak + 1]))
    assert all(a >= b - 1e-12 for a, b in pairwise(rates[peak:]))


def test_the_rate_at_its_corners():
    recipe = Recipe.load("nano", {"training.steps": 100}).training
    recipe = recipe.model_copy(update={"warmup": 0.1, "decay": 0.2, "final_rate": 0.1})
    assert learning_rate_share(0, recipe) == pytest.approx(1 / 11)
    assert learning_rate_share(10, recipe) == learning_rate_share(79, recipe) == 1
    assert learning_rate_share(90, recipe) == pytest.approx(0.55)
    assert learning_rate_share(99, recipe) == pytest.approx(0.145)
