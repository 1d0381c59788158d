"""The recipe `auto`: sized for a budget of time, this machine and a corpus."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from aurelius.config import auto
from aurelius.config.auto import Choice, CorpusFacts, Speed
from aurelius.config.optimizers import DEFAULT
from aurelius.config.recipe import Recipe
from aurelius.config.settings import CorpusSettings
from aurelius.corpus.likeness import LOOKED_AT, like_tinystories
from aurelius.corpus.readers.sources import open_source
from aurelius.errors import RecipeError
from aurelius.progress import SILENT, Progress
from aurelius.progress_bar import duration
from aurelius.run_paths import AUTO

UNPACKED = {".gz": 3.0, ".zst": 3.5, ".parquet": 1.8}  # of a file's size, roughly
OTHER_SECONDS, OTHER_PER_MEGABYTE = 21.0, 0.75  # what the stages other than training take
LEAST_SHARE = 0.3  # of the budget for training


@dataclass(frozen=True)
class Sized:
    """A recipe, why it is what it is, and what was compared."""

    recipe: Recipe
    choices: list[Choice]
    facts: CorpusFacts
    seconds: float  # of training

    @property
    def expected(self) -> float | None:
        """Bits per byte of text alone on stories like TinyStories; None for others."""
        return self.choices[0].bits_per_byte if self.facts.like_tinystories else None

    @property
    def reasons(self) -> list[str]:
        """Say in sentences what was chosen and why."""
        best, minutes = self.choices[0], self.recipe.training.minutes
        known = self.facts.megabytes < float("inf")
        corpus = f"{self.facts.megabytes:,.1f} MB of stories" if known else "a corpus of unknown size"
        lines = [
            f"Sized for {minutes:g} minutes on this machine, {corpus}.",
            f"Training gets about {duration(self.seconds)}: {best.tokens / 1e6:,.1f} million tokens at "
            f"{best.tokens_per_second:,.0f} per second"
            + (f", {best.epochs:.1f} epochs." if known and best.epochs >= 0.1 else "."),
        ]
        others = [c for c in self.choices[1:] if c.model.d_model != best.model.d_model][:2]
        compared = ", ".join(f"{c.parameters / 1e6:.2f} million: {c.bits_per_byte:.3f}" for c in others)
        lines.append(
            f"{best.parameters / 1e6:.2f} million parameters: the law of docs/scaling.md expects "
            f"{best.bits_per_byte:.3f} bits per byte on TinyStories ({compared})."
        )
        if not self.facts.like_tinystories:
            lines.append("These stories are not like TinyStories, so what to expect of them is unknown.")
        return lines


def size(
    overrides: Mapping[str, Any],
    minutes: float | None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Sized:
    """Size a recipe for ``minutes`` of the whole run.

    Args:
        overrides: values by dotted key, the corpus among them; they replace what was chosen.
        minutes: the budget.
        device: what to train on; a few shapes are timed there.
        progress: reports what happens.

    Raises:
        RecipeError: there is no budget, or an override is refused.
        CorpusError, HubError: the corpus cannot be read.
    """
    if minutes is None or not minutes > 0:
        found = "" if minutes is None else f", above 0 (it is {minutes:g})"
        raise RecipeError(f"the recipe '{AUTO}' is sized by a budget of time: add --minutes{found}")
    from aurelius.training.timing import tokens_per_second

    corpus = _corpus_part(overrides)
    facts = look_at(corpus)
    progress.note(f"timing some steps, to size a model for {minutes:g} min")
    ladder = list(auto.shapes(facts))
    timed = []
    for model, vocab_size in (ladder[0], ladder[min(len(ladder) - 1, len(ladder) // 2)]):
        rate = tokens_per_second(_recipe(model, vocab_size, minutes, overrides), device)
        timed.append((auto.operations(model, vocab_size), 1 / rate))
    speed = Speed.fitted(timed)
    seconds = 60 * minutes
    usable = min(facts.megabytes, _megabytes(auto.choose(facts, seconds, speed)[0]))
    seconds = max(seconds - OTHER_SECONDS - OTHER_PER_MEGABYTE * usable, LEAST_SHARE * seconds)
    choices = auto.choose(facts, seconds, speed)
    best = choices[0]
    chosen = auto.training_settings(best.tokens, best.model.context)
    if overrides.get("optimizer.name", DEFAULT.name) != DEFAULT.name:
        chosen = {key: value for key, value in chosen.items() if not key.startswith("optimizer.")}
    wanted = _megabytes(best)
    if wanted < 0.8 * facts.megabytes and "corpus.stories" not in overrides:
        chosen["corpus.stories"] = 1000 * max(1, round(1100 * wanted / facts.story_bytes))
    recipe = _recipe(best.model, best.vocab_size, minutes, {**chosen, **overrides})
    return Sized(recipe, choices, facts, seconds)


def look_at(corpus: CorpusSettings) -> CorpusFacts:
    """Read the first stories of a corpus and estimate the rest."""
    source = open_source(corpus)
    texts = list(islice(iter(source.stories), LOOKED_AT))
    sizes = [len(text.encode()) for text in texts] or [1]
    mean = float(np.mean(sizes))
    if corpus.source == "storyteller":
        megabytes = corpus.stories * mean / 1e6 if corpus.stories else float("inf")
    elif source.count is not None:
        megabytes = source.count * mean / 1e6
    elif source.files:
        megabytes = sum(_text_bytes(path) for path in source.files) / 1e6
    else:
        megabytes = float("inf")
    if corpus.stories:
        megabytes = min(megabytes, corpus.stories * mean / 1e6)
    plain = corpus.source != "storyteller" and like_tinystories(texts)
    return CorpusFacts(megabytes, mean, float(np.quantile(sizes, 0.95)), plain)


def _text_bytes(path: Path) -> float:
    return path.stat().st_size * UNPACKED.get(path.suffix, 1.0)


def _megabytes(choice: Choice) -> float:
    return choice.tokens * auto.BYTES_PER_TOKEN[choice.vocab_size] / 1e6


def _corpus_part(overrides: Mapping[str, Any]) -> CorpusSettings:
    """Return the corpus section that the overrides make."""
    section = {key: value for key, value in overrides.items() if key.startswith("corpus.")}
    return Recipe.load("nano", section).corpus


def _recipe(model: Any, vocab_size: int, minutes: float, overrides: Mapping[str, Any]) -> Recipe:
    table = {
        "name": AUTO,
        "description": f"sized for {minutes:g} minutes",
        "tokenizer": {"vocab_size": vocab_size},
        "model": model.model_dump(),
        "training": {"steps": 0, "minutes": float(minutes), "batch": 4},
    }
    return Recipe.of(table, "the sized recipe").with_(**overrides)
