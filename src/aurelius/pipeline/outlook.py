"""What a run's model is worth, in words, and what more time would give."""

from collections.abc import Iterable

from aurelius.config.auto import expected
from aurelius.corpus.likeness import LOOKED_AT, on_scale
from aurelius.data.stories import read_stories
from aurelius.errors import suggest
from aurelius.evaluation.scale import in_words
from aurelius.pipeline.run_folder import RunFolder


def outlook(run: RunFolder) -> Iterable[tuple[str, str]]:
    """Yield pairs of a heading and a text about an evaluated run.

    The scale and the law hold for stories like TinyStories; of others only the next command is known.
    """
    report, recipe = run.report, run.recipe
    figures, trained = report["documentwise"], report["trained"]
    texts = read_stories(run.corpus, "valid")[:LOOKED_AT]
    minutes = recipe.training.minutes or max(1, round(trained["seconds"] / 60))
    more = suggest("run", run.folder, "--more-minutes", f"{minutes:g}")
    if on_scale(recipe.corpus.source, texts):
        yield "it writes", in_words(figures["bits_per_byte_text"])
        megabytes = trained["tokens"] * figures["bytes"] / figures["tokens"] / 1e6
        unique = megabytes / max(trained["epoch"], 1e-9)
        vocab_size = recipe.tokenizer.vocab_size
        now, later = (expected(recipe.model, vocab_size, n * megabytes, unique) for n in (1, 2))
        yield "more time", f"twice as long: about {now - later:.3f} bits per byte less; {more}"
    else:
        yield "more time", more
