"""What a run's model is worth, in words, and what more time would give."""

from collections.abc import Iterable

from aurelius.config.auto import expected
from aurelius.data.stories import read_stories
from aurelius.errors import suggest
from aurelius.pipeline.auto import LOOKED_AT, like_tinystories
from aurelius.pipeline.run_folder import RunFolder

# Bits per byte of text alone on TinyStories, and what models with more of them write.
WORDS = (
    (1.10, "words and pieces of sentences"),
    (0.92, "sentences, but hardly a story"),
    (0.80, "sentences that follow each other, in a story that loses its thread"),
    (0.70, "simple stories with slips"),
)
BEST = "stories that mostly hold together"


def in_words(bits_per_byte: float) -> str:
    """Say what a model with so many bits per byte on TinyStories writes."""
    return next((words for least, words in WORDS if bits_per_byte >= least), BEST)


def outlook(run: RunFolder) -> Iterable[tuple[str, str]]:
    """Yield pairs of a heading and a text about an evaluated run.

    The scale and the law hold for stories like TinyStories; of others only the next command is known.
    """
    report, recipe = run.report, run.recipe
    figures, trained = report["documentwise"], report["trained"]
    texts = read_stories(run.corpus, "valid")[:LOOKED_AT]
    minutes = recipe.training.minutes or max(1, round(trained["seconds"] / 60))
    more = suggest("run", run.folder, "--more-minutes", f"{minutes:g}")
    if recipe.corpus.source != "storyteller" and like_tinystories(texts):
        yield "it writes", in_words(figures["bits_per_byte_text"])
        megabytes = trained["tokens"] * figures["bytes"] / figures["tokens"] / 1e6
        unique = megabytes / max(trained["epoch"], 1e-9)
        vocab_size = recipe.tokenizer.vocab_size
        now, later = (expected(recipe.model, vocab_size, n * megabytes, unique) for n in (1, 2))
        yield "more time", f"twice as long: about {now - later:.3f} bits per byte less; {more}"
    else:
        yield "more time", more
