"""Stories from a model: sampling, and text as it is written."""

from aurelius.generation.sampling import Sampling, choose
from aurelius.generation.stream import generate

__all__ = ["Sampling", "choose", "generate"]
