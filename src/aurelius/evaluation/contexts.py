"""Openings of held-out documents, all equally long, for inspecting a model."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aurelius.errors import CorpusError
from aurelius.inference.language_model import LanguageModel


def contexts(
    model: LanguageModel, documents: Sequence[str], length: int, count: int, seed: int = 0
) -> Tensor:
    """Return ids [N, length], N at most ``count``: the model's prefix and how a document goes on.

    The documents are drawn without replacement from those that are long enough.

    Raises:
        CorpusError: no document is.
    """
    chosen: list[list[int]] = []
    for number in np.random.default_rng(seed).permutation(len(documents)):
        ids = [*model.prefix, *model.encode(documents[int(number)])]
        if len(ids) >= length:
            chosen.append(ids[:length])
        if len(chosen) == count:
            break
    if not chosen:
        raise CorpusError(f"no document is at least {length} tokens long; {len(documents):,} checked")
    return torch.tensor(chosen)
