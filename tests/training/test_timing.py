from pathlib import Path

from aurelius.config.recipe import Recipe
from aurelius.training.memory import memory_bytes
from aurelius.training.timing import resolve_steps, seconds_per_step


def test_minutes_become_steps_in_proportion(tiny: Recipe, tiny_run: Path):
    def steps(minutes: float) -> int:
        return resolve_steps(tiny.with_(**{"training.minutes": minutes}), tiny_run / "tokens", "cpu")

    tries = [(steps(0.5), steps(5.0)) for _ in range(3)]  # a busy machine may be slow for one of the two
    assert any(3 < ten / one < 30 for one, ten in tries)
    assert max(one for one, _ in tries) > 100, "a tiny model does thousands of steps a minute"


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
