"""Packed loss of any language model on documents: what the reference card calls its validation loss."""

from collections.abc import Sequence

import numpy as np

from aurelius.data.blocks import Blocks
from aurelius.data.store import TokenStore
from aurelius.evaluation.likelihood import BATCH_LOGITS
from aurelius.inference.models import LanguageModel
from aurelius.progress import SILENT, Progress
from aurelius.special_tokens import SpecialTokens
from aurelius.training.validation import Packed, packed_loss

NONE = -1  # no token has this id


def packed(model: LanguageModel, documents: Sequence[str], progress: Progress = SILENT) -> Packed | None:
    """Lay the documents out as training does and score every block.

    For our models that is ``<sink>`` and a stretch of ``<s> story </s>``; for others the first id of their
    prefix leads, the last opens each story (unless it is also the one that ends it).

    Returns:
        None where the model has no begin token, or the documents fill no block.
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
    special = SpecialTokens(begin if opening else NONE, NONE if model.end is None else model.end, lead)
    stories = TokenStore(np.concatenate(ids), starts, special=special)
    blocks = Blocks(stories, model.context, seed=0)
    batch = min(8, max(1, BATCH_LOGITS // (model.context * model.vocab_size)))
    return packed_loss(model.logits, blocks, batch=batch, progress=progress)
