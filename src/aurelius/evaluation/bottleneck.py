"""The softmax bottleneck: does the width of the hidden states limit what the logits can express?

Source: Godey, de la Clergerie and Sagot 2024 (arXiv 2404.07647), after Yang et al. 2018 (arXiv 1711.03953).
The logits of any number of contexts are hidden states times the head, so their rank is at most the width.
Four views of that: how evenly the singular values of the head and of the logits are spread, whether hidden
states point the same way (anisotropy), and what the loss would be with a head of lower rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aurelius.evaluation.contexts import contexts
from aurelius.evaluation.likelihood import BATCH_LOGITS
from aurelius.inference.language_model import InspectableModel
from aurelius.progress import SILENT, Progress

LENGTH = 128  # tokens of a context
BATCH = 8


@dataclass(frozen=True)
class Bottleneck:
    """The spectra of a model of D dimensions and L layers.

    Attributes:
        positions: tokens whose hidden states were taken; far more than D, or they limit the rank.
        width: D.
        head: singular values of the head, falling.
        logits: those of the logits of all positions.
        anisotropy: the mean cosine between the hidden states of two positions [L + 1]: of the embeddings, of
            each layer's output, the last one normalised. 0: they point everywhere; 1: the same way.
        ranks: powers of 2 up to D.
        losses: nats per token with the head truncated to each of these ranks, without any retraining.
    """

    positions: int
    width: int
    head: NDArray[np.float64]
    logits: NDArray[np.float64]
    anisotropy: NDArray[np.float64]
    ranks: list[int]
    losses: list[float]

    def as_json(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "positions": self.positions,
            "width": self.width,
            "head_effective_rank": round(effective_rank(self.head), 2),
            "logits_effective_rank": round(effective_rank(self.logits), 2),
            "head_singular_values": self.head.round(4).tolist(),
            "logits_singular_values": self.logits.round(3).tolist(),
            "anisotropy_by_layer": self.anisotropy.round(4).tolist(),
            "nats_per_token_by_rank": {
                str(rank): round(loss, 4) for rank, loss in zip(self.ranks, self.losses, strict=True)
            },
        }


def effective_rank(singular_values: NDArray[np.float64]) -> float:
    """Return how many equal singular values would be spread as evenly as these.

    exp of the entropy of the values divided by their sum (Roy and Vetterli 2007, EUSIPCO).
    """
    shares = singular_values[singular_values > 0] / singular_values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def measure_bottleneck(
    model: InspectableModel,
    documents: Sequence[str],
    *,
    count: int = 32,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Bottleneck:
    """Look at the head, and at the hidden states in ``count`` beginnings of documents.

    Raises:
        CorpusError: no document is long enough.
        ModelError: the model has no head of one matrix, or does not show its hidden states.
    """
    head = model.head().double()  # [V, D]
    ids = contexts(model, documents, min(LENGTH, model.context), count, seed)
    begin = max(1, len(model.prefix)) - 1  # the first position that predicts text
    layers, targets = [], ids[:, begin + 1 :].flatten()
    with progress.task("hidden states", len(ids), "contexts") as task:
        for batch in ids.split(BATCH):
            layers.append(model.inside(batch).hidden[:, :, begin:-1].flatten(1, 2))  # [L + 1, B x T, D]
            task.advance(len(batch))
    hidden = torch.cat(layers, 1).double()
    last = hidden[-1]
    left, values, right = torch.linalg.svd(head, full_matrices=False)
    ranks = [1 << n for n in range(int(np.log2(len(values))) + 1)]
    ranks += [len(values)] if ranks[-1] != len(values) else []
    some = max(1, min(len(last), BATCH_LOGITS // len(head)))
    losses, scores = [], torch.zeros(some, len(head))
    for lower, rank in zip([0, *ranks], ranks, strict=False):  # each adds what the ranks before it lack
        part = slice(lower, rank)
        scores += (last[:some] @ right[part].T).float() @ (left[:, part] * values[part]).float().T
        losses.append(torch.nn.functional.cross_entropy(scores, targets[:some]).item())
    # Those of hidden states x head, by way of a product no larger than D x D: left has orthonormal columns.
    logits = torch.linalg.svdvals(last @ right.T * values)
    return Bottleneck(
        len(targets),
        head.shape[1],
        values.numpy(),
        logits.numpy(),
        np.array([anisotropy(each.numpy()) for each in hidden]),
        ranks,
        losses,
    )


def anisotropy(vectors: NDArray[np.float64]) -> float:
    """Return the mean cosine between any two of the vectors [N, D] (Ethayarajh 2019, arXiv 1909.00512)."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    count = len(unit)
    return float((np.square(unit.sum(0)).sum() - np.square(unit).sum()) / (count * (count - 1)))
