"""How much memory training needs, from the recipe alone."""

from aurelius.config.recipe import Recipe


def memory_bytes(recipe: Recipe, blocks: int | None = None) -> int:
    """Estimate a training step's memory: weights, gradients, two moments, and activations.

    Those of a micro-batch, or of ``blocks``: the compiled step of a CPU has one block per thread in work.

    Activations are counted as float32 values kept for the backward pass: per layer about 14 of width d_model,
    4 of width d_mlp and half a context of probabilities per head, and three times the logits.
    """
    shape = recipe.model
    blocks = blocks or recipe.training.batch // recipe.training.accumulate
    positions = blocks * shape.context
    per_layer = 14 * shape.d_model + 4 * shape.d_mlp + shape.heads * shape.context // 2
    per_position = shape.layers * per_layer + 3 * recipe.tokenizer.vocab_size
    return 4 * (4 * recipe.parameters + positions * per_position)
