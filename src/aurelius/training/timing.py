"""How long training takes here: minutes turned into steps, and the estimate of ``aurelius show``."""

import time
from pathlib import Path

import numpy as np
import torch

from aurelius import device as devices
from aurelius.config.recipe import Recipe
from aurelius.data.blocks import Blocks
from aurelius.data.store import TokenStore
from aurelius.training.trainer import Trainer, micro_batches

WARMUP_STEPS, TIMED_STEPS = 4, 8
RESERVE = 0.93  # share of the budget for steps; the rest is for validations and checkpoints


def resolve_steps(
    recipe: Recipe, tokens: Path, device: str = "auto", processes: int = 1, auto_batch: bool = False
) -> int:
    """Return how many steps fit in ``recipe.training.minutes`` here, by timing a few on a throw-away model.

    With several processes, one times its share of a step; ``auto_batch`` as in `train`.

    Raises:
        RunError: the tokens cannot be used.
    """
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
    seconds = _seconds_per_step(trainer)
    return max(1, int(recipe.training.minutes * 60 * RESERVE / seconds))


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


def _seconds_per_step(trainer: Trainer) -> float:
    for _ in range(WARMUP_STEPS):
        trainer.step()
    times = []
    for _ in range(TIMED_STEPS):
        started = time.perf_counter()
        trainer.step()[0].item()
        times.append(time.perf_counter() - started)
    return float(np.median(times))
