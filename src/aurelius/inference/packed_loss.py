"""Packed loss: the negative log-likelihood of blocks as in training, the reference card's validation loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aurelius.data.blocks import Blocks, inputs_and_targets
from aurelius.progress import SILENT, Progress
from aurelius.special_tokens import IGNORE_INDEX


@dataclass(frozen=True)
class PackedLoss:
    """Nats per token over blocks; on the reference card ``<s>`` is a target, too (``loss_with_begin``)."""

    loss: float
    loss_with_begin: float
    blocks: int

    def as_json(self) -> dict[str, Any]:
        """Return the figures and the card's perplexity, rounded to their significant digits."""
        return {
            "nats_per_token": round(self.loss, 5),
            "nats_per_token_with_begin": round(self.loss_with_begin, 5),
            "perplexity_with_begin": round(math.exp(self.loss_with_begin), 4),
            "blocks": self.blocks,
        }


@torch.no_grad()
def packed_loss(
    logits: Callable[[Tensor], Tensor],
    blocks: Blocks,
    limit: int | None = None,
    *,
    batch: int = 8,
    progress: Progress = SILENT,
) -> PackedLoss:
    """Measure the first ``limit`` blocks of the first epoch, or all of it.

    The total negative log-likelihood over scored tokens, divided once by their count.

    Args:
        logits: maps ids [B, T] on the CPU to logits [B, T, V].
        blocks: the blocks; their store says what leads a block, and which id is left out of ``loss``.
        limit: the number of blocks; None for all.
        batch: blocks scored at once.
        progress: reports the blocks scored.
    """
    count = min(limit or blocks.per_epoch, blocks.per_epoch)
    total = of_begins = scored = begins = 0.0
    special = blocks.store.special
    with progress.task("evaluating packed blocks", count, "blocks") as task:
        for first in range(0, count, batch):
            pieces = [blocks.piece(number) for number in range(first, min(first + batch, count))]
            ids, targets = inputs_and_targets(torch.from_numpy(np.stack(pieces)), special.lead)
            predicted = logits(ids)
            nats = torch.nn.functional.cross_entropy(
                predicted.flatten(0, 1),
                targets.flatten().to(predicted.device),
                reduction="none",
                ignore_index=IGNORE_INDEX,
            )
            is_begin = (targets == special.never_target).flatten()
            nats = nats.double().cpu()
            of_begins += nats[is_begin].sum().item()
            total += nats[~is_begin].sum().item()
            begins += is_begin.sum().item()
            scored += (~is_begin & (targets != IGNORE_INDEX).flatten()).sum().item()
            task.advance(len(pieces))
    return PackedLoss(total / scored, (total + of_begins) / (scored + begins), count)
