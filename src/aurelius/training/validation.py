"""Packed validation, the reference card's way: blocks as in training."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aurelius.data.blocks import Blocks
from aurelius.progress import SILENT, Progress


@dataclass(frozen=True)
class Packed:
    """Nats a token over blocks: ``loss`` without ``<s>`` as a target, the card's ``loss_with_begin`` with."""

    loss: float
    loss_with_begin: float
    blocks: int

    def as_json(self) -> dict[str, Any]:
        """Return the figures and the card's perplexity, rounded to what their digits mean."""
        card = round(self.loss_with_begin, 5)
        perplexity = round(math.exp(self.loss_with_begin), 4)
        return {
            "nats_per_token": round(self.loss, 5),
            "nats_per_token_with_begin": card,
            "perplexity_with_begin": perplexity,
            "blocks": self.blocks,
        }


@torch.no_grad()
def packed_loss(
    logits: Callable[[Tensor], Tensor],
    blocks: Blocks,
    most: int | None = None,
    *,
    batch: int = 8,
    progress: Progress = SILENT,
) -> Packed:
    """Measure the first ``most`` blocks of the first epoch (all of it, where that is less).

    Total negative log-likelihood over scored tokens, divided once by their count.

    Args:
        logits: maps ids [B, T] on the CPU to logits [B, T, V].
        blocks: the blocks; their stories say what leads a block, and what begins a story: it is left out of
            ``loss`` as a target.
        most: how many blocks; None for all.
        batch: blocks scored at once.
        progress: told the blocks scored.
    """
    count = min(most or blocks.per_epoch, blocks.per_epoch)
    total = begins = scored = begun = 0.0
    with progress.task("evaluating in blocks", count, "blocks") as task:
        for first in range(0, count, batch):
            pieces = [blocks.piece(number) for number in range(first, min(first + batch, count))]
            targets = torch.from_numpy(np.stack(pieces))
            ids = targets.roll(1, 1)
            ids[:, 0] = blocks.store.special.lead
            predicted = logits(ids)
            nats = torch.nn.functional.cross_entropy(
                predicted.flatten(0, 1), targets.flatten().to(predicted.device), reduction="none"
            )
            is_begin = (targets == blocks.store.special.never_target).flatten()
            nats = nats.double().cpu()
            begins += nats[is_begin].sum().item()
            total += nats[~is_begin].sum().item()
            begun += is_begin.sum().item()
            scored += (~is_begin).sum().item()
            task.advance(len(pieces))
    return Packed(total / scored, (total + begins) / (scored + begun), count)
