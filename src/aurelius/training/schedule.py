"""The learning rate over the course of training."""

from aurelius.config.settings import TrainingSettings


def learning_rate_share(step: int, settings: TrainingSettings) -> float:
    """Return the learning rate of ``step`` (from 0) as a share of the peak: warm-up, constant, linear decay.

    Source: Hu et al. 2024 (MiniCPM), arXiv 2404.06395.
    """
    warmup, decay = settings.warmup * settings.steps, settings.decay * settings.steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    remaining = settings.steps - step
    if remaining < decay:
        return settings.final_rate + (1 - settings.final_rate) * remaining / decay
    return 1.0
