"""The beginnings of held-out documents, of equal length: what a model is looked into with."""

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
        raise CorpusError(f"none of the {len(documents):,} documents has {length} tokens, which this needs")
    return torch.tensor(chosen)
