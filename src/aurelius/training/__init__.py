"""Stage 4: from tokens to a trained checkpoint."""

from aurelius.training.checkpoint import latest, load_model
from aurelius.training.loop import train
from aurelius.training.trainer import Trainer

__all__ = ["Trainer", "latest", "load_model", "train"]
