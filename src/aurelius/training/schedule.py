"""The learning rate over the course of training."""

from aurelius.config.sections import TrainingRecipe


def rate(step: int, recipe: TrainingRecipe) -> float:
    """Return the learning rate of ``step`` (from 0) as a share of the peak: warm-up, constant, linear decay.

    Source: Hu et al. 2024 (MiniCPM), arXiv 2404.06395.
    """
    warmup, decay = recipe.warmup * recipe.steps, recipe.decay * recipe.steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    left = recipe.steps - step
    if left < decay:
        return recipe.final_rate + (1 - recipe.final_rate) * left / decay
    return 1.0
