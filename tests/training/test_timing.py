from pathlib import Path

import pytest

from aurelius.config.recipe import Recipe
from aurelius.training.memory import memory_bytes
from aurelius.training.timing import Plan, plan, seconds_per_step


def test_a_budget_becomes_steps(tiny: Recipe, tiny_run: Path):
    def planned(seconds: float) -> Plan:
        return plan(tiny, tiny_run / "tokens", seconds, "cpu")

    tries = [(planned(40.0), planned(400.0)) for _ in range(3)]  # a busy machine may be slow for one of them
    assert any(5 < longer.steps / short.steps < 30 for short, longer in tries)
    assert max(short.steps for short, _ in tries) > 100, "a tiny model does thousands of steps a minute"
    assert all(300 < longer.seconds < 400 for _, longer in tries), "evaluation and export need some"
    assert planned(1.0).seconds == pytest.approx(0.1), "training gets a tenth at least"


def test_the_estimate_counts_the_batch(tiny: Recipe):
    big = tiny.with_(**{"training.batch": 400})
    # A busy machine may be slow for one of the two.
    tries = (seconds_per_step(big, "cpu") / seconds_per_step(tiny, "cpu") for _ in range(3))
    assert any(ratio > 4 for ratio in tries)


def test_memory_counts_at_least_weights_gradients_and_moments():
    recipe = Recipe.load("large")
    floor = 4 * 4 * recipe.parameters
    logits = 4 * recipe.tokens_per_step * recipe.tokenizer.vocab_size
    assert floor + logits < memory_bytes(recipe) < 40 * (floor + logits)
    split = recipe.with_(**{"training.accumulate": 8})
    assert memory_bytes(split) < memory_bytes(recipe) / 4
