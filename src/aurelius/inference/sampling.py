"""From logits to a token."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from aurelius.config.settings import GenerationSettings as Sampling
from aurelius.errors import ModelError, RecipeError


def sample_next_token(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Draw the next token from ``logits`` [V].

    In transformers' order: temperature, top-k, top-p (Holtzman et al. 2020, arXiv 1904.09751), min-p (Nguyen
    et al. 2024, arXiv 2407.01082). A temperature of 0 takes the likeliest.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(probabilities(logits, sampling), 1, generator=generator))


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """Return the probabilities [V] that `sample_next_token` draws from."""
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(sampling.top_k).values[-1], float("-inf"))
    if sampling.top_p < 1:
        ranked, order = logits.softmax(0).sort(descending=True)
        likelier = ranked.cumsum(0) - ranked  # probability of all likelier tokens
        logits = logits.index_fill(0, order[likelier >= sampling.top_p], float("-inf"))
    remaining = logits.softmax(0)
    if sampling.min_p > 0:
        remaining = remaining.masked_fill(remaining < sampling.min_p * remaining.max(), 0)
    return remaining / remaining.sum()


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
    defaults = {"temperature": 1.0, "min_p": 0.0, "top_k": 50, "top_p": 1.0, "max_new_tokens": 128}
    try:
        return Sampling(**{k: v if config.get(k) is None else config[k] for k, v in defaults.items()})
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{where} has {first['loc'][0]} {first['input']!r}: {first['msg']}") from None
