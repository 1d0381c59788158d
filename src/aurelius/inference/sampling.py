"""From logits to a token."""

import math
import operator
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from aurelius.config.settings import GenerationSettings as Sampling
from aurelius.errors import ModelError, RecipeError

COLDEST = 1e-6  # a temperature below it takes the likeliest token: logits divided by it would be infinite


def sample_next_token(logits: NDArray[np.floating], sampling: Sampling, dice: np.random.Generator) -> int:
    """Draw the next token from ``logits`` [V].

    In transformers' order: temperature, top-k, top-p (Holtzman et al. 2020, arXiv 1904.09751), min-p (Nguyen
    et al. 2024, arXiv 2407.01082). A temperature of 0 takes the likeliest.
    """
    if sampling.temperature < COLDEST:
        return int(logits.argmax())
    ids, weights = candidates(logits, sampling)
    totals = weights.cumsum(dtype=np.float64)
    return int(ids[totals.searchsorted(dice.random() * totals[-1], side="right")])


def candidates(
    logits: NDArray[np.floating], sampling: Sampling
) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Return the tokens that may be drawn, and their probabilities times any common factor."""
    highest = logits.max()
    lowest = -np.inf if sampling.min_p == 0 else highest + sampling.temperature * math.log(sampling.min_p)
    # min-p first, where the order makes no difference: few tokens are left for the rest.
    (ids,) = (logits >= (lowest if sampling.top_p == 1 else -np.inf)).nonzero()
    scores = logits[ids]
    if 0 < sampling.top_k < len(ids):
        kept = scores >= np.partition(scores, -sampling.top_k)[-sampling.top_k]
        ids, scores = ids[kept], scores[kept]
    weights = np.exp((scores - highest) / sampling.temperature)
    if sampling.top_p < 1:
        order = np.argsort(-weights, kind="stable")
        ranked = weights[order].astype(np.float64)
        likelier = np.cumsum(ranked) - ranked  # the weight of all likelier tokens
        kept = np.sort(order[(likelier < sampling.top_p * ranked.sum()) & (scores[order] >= lowest)])
        ids, weights = ids[kept], weights[kept]
    return ids, weights


def checked_seed(seed: "int | None") -> int:
    """Return a seed, or draw one that is short enough to be typed again.

    Raises:
        RecipeError: it is negative, or does not fit 63 bits.
    """
    if seed is None:
        return random.randrange(2**31)
    seed = operator.index(seed)
    if not 0 <= seed < 2**63:
        raise RecipeError(f"seed {seed} is not a number from 0 to {2**63 - 1}")
    return seed


def changed(sampling: Sampling, values: Mapping[str, Any]) -> Sampling:
    """Return ``sampling`` with other values.

    Raises:
        RecipeError: a value is unknown or impossible.
    """
    try:
        return Sampling.model_validate(sampling.model_dump() | dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"{first['loc'][0]} = {first['input']!r}: {first['msg']}") from None


def sampling_of(config: Mapping[str, Any], where: str) -> Sampling:
    """Return how a ``generation_config.json`` samples; if it does not say, our own default.

    Raises:
        ModelError: a value is impossible; the message says ``where``.
    """
    if not config.get("do_sample"):
        return Sampling()
    # transformers' own defaults, except for the length.
    defaults = {"temperature": 1.0, "min_p": 0.0, "top_k": 50, "top_p": 1.0, "max_new_tokens": 0}
    try:
        return Sampling(**{k: v if config.get(k) is None else config[k] for k, v in defaults.items()})
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{where} has {first['loc'][0]} {first['input']!r}: {first['msg']}") from None
