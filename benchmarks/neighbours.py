"""A study of what `auto` chose, against half and double the parameters, half and double the vocabulary.

The five are timed here, round after round, and each gets the steps that it can take in the time that `auto`
plans for training; so the trainings themselves may run on a busy machine, several at once. Rates and batch
follow `auto`'s rules for so many steps.

    python benchmarks/neighbours.py SAMPLES --minutes 3 --out studies/neighbours-3.toml
    cd SAMPLES && aurelius study STUDIES/neighbours-3.toml

SAMPLES is the folder with the training samples of TinyStories, where the study reads them.
"""

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

import tomlkit

from aurelius.config import auto
from aurelius.config.auto import CorpusFacts
from aurelius.config.optimizers import DEFAULT
from aurelius.config.recipe import Recipe
from aurelius.config.settings import ModelSettings
from aurelius.pipeline.auto import size
from aurelius.training.timing import tokens_per_second
from sample_race import TRAIN

DEEPER = 0.1  # how much a layer more or less counts against a factor of two in parameters


def main() -> None:
    """Choose, time, and write the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    corpus = {
        "corpus.source": [str(options.samples / name) for name in TRAIN],
        "corpus.valid_fraction": 0.1,
    }
    sized = size(corpus, options.minutes)
    chosen = sized.recipe
    arms = {"auto": (chosen.model, chosen.tokenizer.vocab_size), **neighbours(chosen, sized.facts)}
    recipes = {
        name: chosen.with_(**{"tokenizer.vocab_size": vocab_size}).model_copy(update={"model": model})
        for name, (model, vocab_size) in arms.items()
    }
    rounds = [
        {name: tokens_per_second(recipe) for name, recipe in recipes.items()} for _ in range(options.rounds)
    ]
    speeds = {name: statistics.median(r[name] for r in rounds) for name in arms}
    print(json.dumps({name: round(speed) for name, speed in speeds.items()}))
    study = {
        "title": f"What auto chose for {options.minutes:g} minutes, and its neighbours",
        "question": (
            "Is there a better model among those of half and double the parameters, or of half and double "
            "the vocabulary, for the same time?"
        ),
        "recipe": "nano",
        "seeds": options.seeds,
        "stories": 500,
        "baseline": "auto",
        "set": {"corpus": {"source": list(TRAIN), "valid_fraction": 0.1}},
        "arms": [_arm(name, *arms[name], speeds[name] * sized.seconds) for name in arms],
    }
    options.out.write_text(tomlkit.dumps(study))


def neighbours(chosen: Recipe, facts: CorpusFacts) -> dict[str, tuple[ModelSettings, int]]:
    """Return the four neighbours of a choice: its half and its double, in two ways."""
    model, vocab_size = chosen.model, chosen.tokenizer.vocab_size
    candidates = [
        auto.shape(32 * width, layers, vocab_size, facts)
        for width in range(1, 17)
        for layers in range(max(1, model.layers - 3), model.layers + 4)
    ]

    def nearest(parameters: float) -> tuple[ModelSettings, int]:
        def distance(other: ModelSettings) -> float:
            ratio = abs(math.log2(other.parameters(vocab_size) / parameters))
            return ratio + DEEPER * abs(other.layers - model.layers)

        return min(candidates, key=distance), vocab_size

    def spelled_in(entries: int) -> tuple[ModelSettings, int]:
        return auto.shape(model.d_model, model.layers, entries, facts), entries

    return {
        "half the parameters": nearest(chosen.parameters / 2),
        "double the parameters": nearest(chosen.parameters * 2),
        "half the vocabulary": spelled_in(vocab_size // 2),
        "double the vocabulary": spelled_in(vocab_size * 2),
    }


def _arm(name: str, model: ModelSettings, vocab_size: int, tokens: float) -> dict[str, Any]:
    settings = auto.training_settings(tokens, model.context)
    steps = round(tokens / (settings["training.batch"] * model.context))
    optimizer = {
        key: settings.get(f"optimizer.{key}", getattr(DEFAULT, key))
        for key in ("learning_rate", "adamw_learning_rate")
    }
    return {
        "name": name,
        "set": {
            "tokenizer": {"vocab_size": vocab_size},
            "model": model.model_dump(),
            "training": {"batch": settings["training.batch"], "steps": steps},
            "optimizer": optimizer,
        },
    }


if __name__ == "__main__":
    main()
