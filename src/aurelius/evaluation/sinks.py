"""Attention sinks: the first tokens, which attention goes to when it has nothing to look for.

Sources: Xiao et al. 2023 (StreamingLLM, arXiv 2309.17453), who first described them; Gu et al. 2024 (arXiv
2410.10781), whose metric is `Sinks.metric`: the share of heads that give a position more than 0.3 of their
attention, the mean over the queries that see it, in contexts of 64 tokens. In much shorter ones it means
little: the first queries have nowhere else to look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurelius.evaluation.contexts import contexts
from aurelius.inference.language_model import InspectableModel
from aurelius.progress import SILENT, Progress

LENGTH = 64
THRESHOLD = 0.3
BATCH = 8


@dataclass(frozen=True)
class Sinks:
    """What attention does with the first positions, K of which have a name.

    Attributes:
        contexts: how many were looked at.
        length: of each, in tokens.
        names: of the first positions [K]: the tokens of the prefix, and "first token" of the text.
        attention: what a head gives to each of them, and to all others [K + 1, L, H]; by queries after
            them, so that the shares of a head add up to 1.
        metric: Gu's sink metric of each [K].
        norms: the mean length of the hidden state that enters each layer, at each of them and at all others
            [K + 1, L].
    """

    contexts: int
    length: int
    names: list[str]
    attention: NDArray[np.float64]
    metric: NDArray[np.float64]
    norms: NDArray[np.float64]

    def as_json(self) -> dict[str, Any]:
        """Return the figures; the shares also averaged over all heads."""
        names = [*self.names, "others"]
        return {
            "contexts": self.contexts,
            "tokens_per_context": self.length,
            "sink_metric": dict(zip(self.names, self.metric.round(4).tolist(), strict=True)),
            "attention": dict(zip(names, self.attention.mean((1, 2)).round(4).tolist(), strict=True)),
            "attention_by_layer_and_head": dict(zip(names, self.attention.round(4).tolist(), strict=True)),
            "norm_by_layer": dict(zip(names, self.norms.round(3).tolist(), strict=True)),
        }


def measure_sinks(
    model: InspectableModel,
    documents: Sequence[str],
    *,
    count: int = 64,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Sinks:
    """Look at the attention and the hidden states of ``count`` beginnings of documents.

    Raises:
        CorpusError: no document is long enough.
        ModelError: the model does not show its attention.
    """
    length = min(LENGTH, model.context)
    ids = contexts(model, documents, length, count, seed)
    named = min(len(model.prefix) + 1, length - 1)
    names = [shown_token(model, i) for i in model.prefix] + ["first token"]
    shares, received, norms = [], [], []
    visible = np.arange(length, 0, -1)[:named]  # queries that see each of the first positions
    with progress.task("attention", len(ids), "contexts") as task:
        for batch in ids.split(BATCH):
            inside = model.inside(batch)
            attention = inside.attention.double().numpy()  # [L, B, H, T, T]
            given = attention[..., named:, :named].mean(3)  # [L, B, H, K]
            shares.append(np.concatenate((given, 1 - given.sum(-1, keepdims=True)), -1))
            received.append(attention[..., :named].sum(3) / visible)
            lengths = inside.hidden[:-1].double().norm(dim=-1).numpy()  # [L, B, T]
            others = lengths[..., named:].mean(-1, keepdims=True)
            norms.append(np.concatenate((lengths[..., :named], others), -1))
            task.advance(len(batch))

    def mean(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.moveaxis(np.concatenate(parts, 1).mean(1), -1, 0)

    is_sink = np.concatenate(received, 1) > THRESHOLD  # [L, contexts, H, K]
    return Sinks(len(ids), length, names[:named], mean(shares), is_sink.mean((0, 1, 2)), mean(norms))


def shown_token(model: InspectableModel, token: int) -> str:
    """Return how a special token is written, or its number."""
    tokenizer: Any = getattr(model, "tokenizer", None)
    for method in ("id_to_token", "convert_ids_to_tokens"):
        if hasattr(tokenizer, method):
            return str(getattr(tokenizer, method)(token))
    return f"token {token}"
