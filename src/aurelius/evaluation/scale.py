"""What bits per byte on TinyStories mean: in words, and among reference models."""

from dataclasses import dataclass

# Bits per byte of text alone on TinyStories, and what models with more of them write.
WORDS = (
    (1.10, "words and pieces of sentences"),
    (0.92, "sentences, but hardly a story"),
    (0.80, "sentences that follow each other, in a story that loses its thread"),
    (0.70, "simple stories with slips"),
)
BEST = "stories that mostly hold together"


@dataclass(frozen=True)
class Known:
    """A model and its bits per byte of text alone; ``measured`` by us, or converted from a published loss.

    Measured: on the validation sample (docs/results.md). Converted: published nats per token / ln 2 / bytes
    per token of the model's tokenizer on the same sample, though the loss itself is of other stories.
    """

    name: str
    bits_per_byte: float
    measured: bool = True


KNOWN = (
    Known("stories260K", 0.9223),
    Known("auto in 3 minutes", 0.8699),
    Known("nano after 10 M tokens", 0.8072),
    Known("auto in 15 minutes", 0.7199),
    Known("auto in 60 minutes", 0.6508),
    # 1.2232 nats per token (the card's packed loss), 3.434 bytes per token
    Known("the reference card", 0.514, measured=False),
    # 1.072, 0.847 and 0.760 nats per token (https://github.com/karpathy/llama2.c); 3.768 bytes per token
    Known("stories15M", 0.410, measured=False),
    Known("stories42M", 0.324, measured=False),
    Known("stories110M", 0.291, measured=False),
)


def place(bits_per_byte: float) -> str:
    """Say where a figure ranks among the known models: "between … and …"."""
    ranked = sorted(KNOWN, key=lambda known: known.bits_per_byte)
    better = [known for known in ranked if known.bits_per_byte <= bits_per_byte]
    worse = [known for known in ranked if known.bits_per_byte > bits_per_byte]
    if not better:
        return f"above {_shown(ranked[0])}, the best reference model"
    if not worse:
        return f"below {_shown(ranked[-1])}"
    return f"between {_shown(worse[0])} and {_shown(better[-1])}"


def _shown(known: Known) -> str:
    return f"{known.name} ({known.bits_per_byte:.2f})"


def in_words(bits_per_byte: float) -> str:
    """Say what a model with so many bits per byte on TinyStories writes."""
    return next((words for least, words in WORDS if bits_per_byte >= least), BEST)
