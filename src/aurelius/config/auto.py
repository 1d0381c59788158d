"""From a budget of time to a recipe: which shape and vocabulary end lowest, given a machine and a corpus.

The law says how many bits per byte a shape reaches after a number of bytes of stories; the machine's speed
how many bytes it gets to see. docs/scaling.md has the measurements and the fit.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aurelius.config.optimizers import DEFAULT
from aurelius.config.settings import ModelSettings

# Bits per byte = E + A parameters^-ALPHA + B data^-BETA + C v + D v²: parameters in millions, data in
# megabytes of stories trained on, v = log2(vocabulary / 4096).
E, A, ALPHA, B, BETA, C, D = 0.284, 0.487, 0.157, 1.010, 0.766, 0.017, 0.029
HALF_LIFE = 15.4  # epochs beyond the first; Muennighoff et al. 2023, arXiv 2305.16264, equation 5
# On held-out stories, measured in the same study; below 1,024, for small corpora, estimated.
BYTES_PER_TOKEN = {384: 2.1, 512: 2.3, 1024: 2.96, 2048: 3.56, 4096: 3.94}
BYTES_PER_ENTRY = 500  # a vocabulary is no larger than the corpus has this many bytes for each entry
MOST_PARAMETERS = 10_000_000
WIDTHS = {64: 4, 96: 4, 128: 4, 160: 6, 192: 6, 256: 6, 320: 8, 384: 8}  # and their layers
HEAD_DIM = 32
FEW_HEADS = 4  # up to here each has keys and values of its own, which costs little
MOST_STEPS = 16_000  # from here on, larger batches instead
LEAST_TOKENS = 2.0  # per parameter; with fewer, the law is not trusted far from what was measured
LONG = 1_500  # steps, from which on half the learning rates are better
CONTEXTS = (96, 512)  # positions


@dataclass(frozen=True)
class CorpusFacts:
    """What is known of a corpus before it is read in full."""

    megabytes: float  # of stories; infinite if nobody knows
    story_bytes: float  # mean of a story
    long_story_bytes: float  # 95 of 100 stories are shorter
    like_tinystories: bool


@dataclass(frozen=True)
class Choice:
    """A shape and vocabulary, and what becomes of them in the time there is."""

    model: ModelSettings
    vocab_size: int
    tokens_per_second: float
    tokens: float
    epochs: float
    bits_per_byte: float

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return self.model.parameters(self.vocab_size)


def shapes(facts: CorpusFacts) -> Iterable[tuple[ModelSettings, int]]:
    """Yield the shapes and vocabularies to choose from, small to large.

    All widths are multiples of 32, so that every type of export fits.
    """
    sizes = [v for v in BYTES_PER_TOKEN if v * BYTES_PER_ENTRY <= facts.megabytes * 1e6]
    for width, layers in WIDTHS.items():
        for vocab_size in sizes or [min(BYTES_PER_TOKEN)]:
            model = shape(width, layers, vocab_size, facts)
            if model.parameters(vocab_size) <= MOST_PARAMETERS:
                yield model, vocab_size


def shape(width: int, layers: int, vocab_size: int, facts: CorpusFacts) -> ModelSettings:
    """Return the model of a width and depth, with a context for most of the corpus's stories."""
    bytes_per_token = BYTES_PER_TOKEN[max(v for v in BYTES_PER_TOKEN if v <= vocab_size)]
    tokens = facts.long_story_bytes / bytes_per_token + 3
    least, most = CONTEXTS
    heads = width // HEAD_DIM
    return ModelSettings(
        layers=layers,
        d_model=width,
        d_mlp=32 * round(width * 8 / 3 / 32),
        heads=heads,
        kv_heads=heads if heads <= FEW_HEADS else 2 if heads % 2 == 0 else 1,
        context=min(max(32 * math.ceil(tokens / 32), least), most),
    )


def training_settings(tokens: float, context: int) -> dict[str, Any]:
    """Return what a training of so many tokens sets, by dotted key: its batch, lower rates if it is long."""
    batch = 2 ** max(2, min(6, math.ceil(math.log2(max(1.0, tokens / (context * MOST_STEPS))))))
    settings: dict[str, Any] = {"training.batch": batch}
    if tokens / (batch * context) >= LONG:
        settings["optimizer.learning_rate"] = DEFAULT.learning_rate / 2
        settings["optimizer.adamw_learning_rate"] = DEFAULT.adamw_learning_rate / 2
    return settings


def operations(model: ModelSettings, vocab_size: int) -> float:
    """Return the floating-point operations of training on a token, with half a context of attention."""
    return 6 * model.matmul_parameters(vocab_size) + 3 * model.layers * model.d_model * model.context


def expected(model: ModelSettings, vocab_size: int, megabytes: float, unique: float) -> float:
    """Return the bits per byte the law expects on TinyStories, text alone.

    Args:
        model: the shape.
        vocab_size: the vocabulary.
        megabytes: of stories trained on, repetitions included.
        unique: of different stories; what is repeated counts less and less.
    """
    first = min(megabytes, unique)
    repeated = megabytes / first - 1
    data = first * (1 + HALF_LIFE * (1 - math.exp(-repeated / HALF_LIFE)))
    parameters, v = model.parameters(vocab_size) / 1e6, math.log2(vocab_size / 4096)
    return E + A * parameters**-ALPHA + B * data**-BETA + C * v + D * v * v


def choose(facts: CorpusFacts, seconds: float, speed: "Speed") -> list[Choice]:
    """Return the choices for ``seconds`` of training, the best one first.

    Shapes that would see less than LEAST_TOKENS come last, whatever the law says.
    """
    found = []
    for model, vocab_size in shapes(facts):
        rate = speed.tokens_per_second(model, vocab_size)
        megabytes = rate * seconds * BYTES_PER_TOKEN[vocab_size] / 1e6
        bpb = expected(model, vocab_size, megabytes, facts.megabytes)
        found.append(Choice(model, vocab_size, rate, rate * seconds, megabytes / facts.megabytes, bpb))
    return sorted(found, key=lambda c: (c.tokens < LEAST_TOKENS * c.parameters, c.bits_per_byte))


@dataclass(frozen=True)
class Speed:
    """How long this machine trains on a token: ``overhead`` seconds, and more with its operations."""

    overhead: float
    per_operation: float

    @classmethod
    def fitted(cls, timed: Iterable[tuple[float, float]]) -> "Speed":
        """Fit the line through pairs of operations and seconds per token; neither part is negative."""
        (few, fast), *_, (many, slow) = sorted(timed)
        per_operation = max((slow - fast) / (many - few), 0.0)
        overhead = max(fast - per_operation * few, 0.0)
        return cls(overhead, max(per_operation, (slow - overhead) / many))

    def tokens_per_second(self, model: ModelSettings, vocab_size: int) -> float:
        """Return the speed of training a shape."""
        return 1 / (self.overhead + self.per_operation * operations(model, vocab_size))
