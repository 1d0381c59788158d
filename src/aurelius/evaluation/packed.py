"""Packed loss of any language model on documents: what the reference card calls its validation loss."""

from collections.abc import Sequence

import numpy as np

from aurelius.data.blocks import Blocks
from aurelius.data.store import TokenStore
from aurelius.evaluation.likelihood import BATCH_LOGITS
from aurelius.inference.language_model import LanguageModel
from aurelius.inference.packed_loss import PackedLoss, packed_loss
from aurelius.progress import SILENT, Progress
from aurelius.special_tokens import SpecialTokens

NO_TOKEN = -1


def measure_packed(
    model: LanguageModel,
    documents: Sequence[str],
    progress: Progress = SILENT,
    leads: bool = True,
) -> PackedLoss | None:
    """Pack the documents into blocks as in training, and score every block.

    For our models a block is ``<sink>`` and part of a stream of ``<s> story </s>``. For others, the first id
    of their prefix leads the block, and the last one begins each story (unless it also ends it). Without
    ``leads`` nothing leads a block.

    Returns:
        The loss; None if the model has no begin token, or the documents do not fill one block.
    """
    if not model.prefix:
        return None
    lead, begin = model.prefix[0], model.prefix[-1]
    opening = [begin] if begin != model.end else []
    closing = [model.end] if model.end is not None else []
    ids = [[*opening, *model.encode(document), *closing] for document in documents]
    starts = np.cumsum([0, *map(len, ids)])
    if starts[-1] < model.context:
        return None
    special = SpecialTokens(
        begin if opening else NO_TOKEN, NO_TOKEN if model.end is None else model.end, lead if leads else None
    )
    store = TokenStore(np.concatenate(ids), starts, special=special)
    blocks = Blocks(store, model.context, seed=0)
    batch = min(8, max(1, BATCH_LOGITS // (model.context * model.vocab_size)))
    return packed_loss(model.logits, blocks, batch=batch, progress=progress)
