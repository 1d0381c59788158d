"""What a run's model is worth, in words, and what more time would give."""

from dataclasses import dataclass

from aurelius.config.auto import expected
from aurelius.corpus.likeness import LOOKED_AT, on_scale
from aurelius.data.stories import read_stories
from aurelius.errors import suggest
from aurelius.evaluation.scale import in_words
from aurelius.files import read_json
from aurelius.pipeline.run_folder import RunFolder


@dataclass(frozen=True)
class Outlook:
    """What an evaluated run's model writes, what twice the time would gain (bits per byte), and the command.

    The scale and the law hold for stories like TinyStories; of others, ``writes`` and ``gain`` are None.
    """

    writes: str | None
    gain: float | None
    command: str


def outlook(run: RunFolder) -> Outlook:
    """Return the outlook of an evaluated run."""
    report, recipe = run.report, run.recipe
    figures, trained = report["documentwise"], report["trained"]
    texts = read_stories(run.corpus, "valid")[:LOOKED_AT]
    minutes = recipe.training.minutes or max(1, round(trained["seconds"] / 60))
    command = suggest("run", run.folder, "--more-minutes", f"{minutes:g}")
    if not on_scale(read_json(run.corpus_report), texts):
        return Outlook(None, None, command)
    writes = in_words(figures["bits_per_byte_text"])
    if not trained["tokens"]:  # an imported model, of whose training nothing is known
        return Outlook(writes, None, command)
    megabytes = trained["tokens"] * figures["bytes"] / figures["tokens"] / 1e6
    unique = megabytes / max(trained["epoch"], 1e-9)
    now, later = (expected(recipe.model, recipe.tokenizer.vocab_size, n * megabytes, unique) for n in (1, 2))
    return Outlook(writes, now - later, command)
