"""How long training takes here: minutes turned into steps, and the estimate of ``aurelius show``."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from aurelius import device as devices
from aurelius.config.recipe import Recipe
from aurelius.data.blocks import Blocks
from aurelius.data.store import TokenStore
from aurelius.training.trainer import Trainer, micro_batches

WARMUP_STEPS, TIMED_STEPS = 4, 8
LEAST_SHARE = 0.1  # of the budget for training, however long the rest takes
FINISHING = 9.0  # seconds of loading the model, telling stories, exporting and drawing the report
SCORING_COST = 0.75  # of a held-out token, without gradients, in shorter batches
EVALUATIONS = 2  # of each: by itself, and packed
REPORTED = 100_000  # held-out tokens that the report's instruments score
COPYING = 0.6e-6  # seconds per training token of looking for copies in the model's stories


@dataclass(frozen=True)
class Plan:
    """What a budget of time allows: steps, and the seconds there are for them."""

    steps: int
    seconds: float


def plan(
    recipe: Recipe,
    tokens: Path,
    seconds: float,
    device: str = "auto",
    processes: int = 1,
    auto_batch: bool = False,
) -> Plan:
    """Return how much of ``seconds`` training can have, and how many steps that makes here.

    A few steps are timed on a throw-away model; what comes after training is estimated from them. With
    several processes, one times its share of a step; ``auto_batch`` as in `train`.

    Raises:
        RunError: the tokens cannot be used.
    """
    started = time.monotonic()
    blocks = Blocks(
        TokenStore.open(tokens, "train"),
        recipe.model.context,
        recipe.training.seed,
        recipe.training.story_start,
    )
    # For timing any number of steps will do; the schedule just needs one.
    share = max(1, recipe.training.batch // processes)
    split = micro_batches(recipe.training.accumulate, share, processes)
    timed = recipe.with_(
        **{"training.steps": 1_000_000, "training.batch": share, "training.accumulate": split}
    )
    trainer = Trainer(timed, blocks, devices.pick(device), graphed=processes == 1)
    if auto_batch:
        trainer.shrink_micro_batches()
    per_step = _seconds_per_step(trainer)
    per_token = per_step / timed.tokens_per_step
    left = seconds - (time.monotonic() - started) - _after_training(recipe, tokens, per_token)
    left = max(left, LEAST_SHARE * seconds)
    return Plan(max(1, int(left / per_step)), left)


def _after_training(recipe: Recipe, tokens: Path, per_token: float) -> float:
    """Estimate the seconds of evaluation, export and report, given those of training on a token."""
    held_out = TokenStore.open(tokens, "valid")
    share = min(1.0, (recipe.evaluation.stories or len(held_out)) / max(1, len(held_out)))
    scored = EVALUATIONS * share * len(held_out.ids) + REPORTED
    copying = COPYING * len(TokenStore.open(tokens, "train").ids)
    return FINISHING + SCORING_COST * scored * per_token + copying


def seconds_per_step(recipe: Recipe, device: str = "auto") -> float:
    """Estimate the seconds per step here from the recipe alone, on random tokens.

    Steps of one and of three sequences per thread are timed; the line through both separates what grows with
    the batch from what does not (the optimizer).
    """
    target = devices.pick(device)
    threads = min(torch.get_num_threads(), recipe.training.batch) if target.type == "cpu" else 1
    random = np.random.default_rng(0)
    ids = random.integers(4, recipe.tokenizer.vocab_size, 64 * recipe.model.context).astype(np.uint16)
    blocks = Blocks(TokenStore(ids, np.array([0, len(ids)])), recipe.model.context, 0)

    def timed(batch: int) -> float:
        small = {"training.batch": batch, "training.accumulate": 1, "training.steps": 1_000_000}
        return _seconds_per_step(Trainer(recipe.with_(**small), blocks, target))

    one, three = timed(threads), timed(3 * threads)
    per_round = max((three - one) / 2, one / 10)
    return max(0.0, one - per_round) + recipe.training.batch / threads * per_round


def tokens_per_second(recipe: Recipe, device: str = "auto") -> float:
    """Time the recipe's steps here, on random tokens in stories of half a context."""
    random = np.random.default_rng(0)
    length = recipe.model.context // 2
    starts = np.arange(0, 200 * length + 1, length)
    ids = random.integers(4, recipe.tokenizer.vocab_size, starts[-1]).astype(np.uint16)
    blocks = Blocks(TokenStore(ids, starts), recipe.model.context, 0)
    timed = recipe.with_(**{"training.steps": 1_000_000})
    return recipe.tokens_per_step / _seconds_per_step(Trainer(timed, blocks, devices.pick(device)))


def _seconds_per_step(trainer: Trainer) -> float:
    for _ in range(WARMUP_STEPS):
        trainer.step()
    times = []
    for _ in range(TIMED_STEPS):
        started = time.perf_counter()
        trainer.step()[0].item()
        times.append(time.perf_counter() - started)
    return float(np.median(times))
