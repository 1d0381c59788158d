"""From logits to a token."""

import torch
from torch import Tensor

from aurelius.config.sections import GenerationRecipe as Sampling


def choose(logits: Tensor, sampling: Sampling, random: torch.Generator) -> int:
    """Draw the next token from ``logits`` [V].

    In transformers' order: temperature, top-k, top-p (Holtzman et al. 2020, arXiv 1904.09751), min-p (Nguyen
    et al. 2024, arXiv 2407.01082). A temperature of 0 takes the likeliest.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(filtered(logits, sampling), 1, generator=random))


def filtered(logits: Tensor, sampling: Sampling) -> Tensor:
    """Return the probabilities [V] that `choose` draws from."""
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(sampling.top_k).values[-1], float("-inf"))
    if sampling.top_p < 1:
        ranked, order = logits.softmax(0).sort(descending=True)
        before = ranked.cumsum(0) - ranked  # probability of all likelier tokens
        logits = logits.index_fill(0, order[before >= sampling.top_p], float("-inf"))
    probabilities = logits.softmax(0)
    if sampling.min_p > 0:
        probabilities = probabilities.masked_fill(probabilities < sampling.min_p * probabilities.max(), 0)
    return probabilities / probabilities.sum()
