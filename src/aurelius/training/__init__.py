"""Stage 4: from tokens to a trained checkpoint."""

from aurelius.training.checkpoint import latest, load_model
from aurelius.training.loop import Trainer, train

__all__ = ["Trainer", "latest", "load_model", "train"]
