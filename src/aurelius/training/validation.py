"""Packed validation, the reference card's way: blocks as in training."""

import math
from dataclasses import dataclass

import torch

from aurelius.model import Llama
from aurelius.tokens import Blocks
from aurelius.vocabulary import BOS


@dataclass(frozen=True)
class Packed:
    """Nats a token over blocks: ``loss`` without ``<s>`` as a target, the card's ``loss_with_begin`` with."""

    loss: float
    loss_with_begin: float
    blocks: int

    @property
    def perplexity_with_begin(self) -> float:
        """The card's perplexity."""
        return math.exp(self.loss_with_begin)


@torch.no_grad()
def packed_loss(model: Llama, blocks: Blocks, most: int, device: torch.device, batch: int = 8) -> Packed:
    """Measure the first ``most`` blocks of the first epoch (all of it, where that is less).

    Total negative log-likelihood over scored tokens, divided once by their count.
    """
    count = min(most, blocks.per_epoch)
    total = begins = scored = begun = 0.0
    for first in range(0, count, batch):
        inputs, targets = blocks.batch(first, min(batch, count - first))
        ids, wanted = torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)
        # <s> is IGNORED as a target; scored apart, it gives the card's figure without a second pass.
        is_begin = wanted < 0
        logits = model(ids)
        nats = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), wanted.masked_fill(is_begin, BOS).flatten(), reduction="none"
        ).view_as(wanted)
        begins += nats[is_begin].double().sum().item()
        total += nats[~is_begin].double().sum().item()
        begun += is_begin.sum().item()
        scored += (~is_begin).sum().item()
    return Packed(total / scored, (total + begins) / (scored + begun), count)
