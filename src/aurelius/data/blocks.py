"""Training blocks: which tokens of the store make which training sequence.

In each epoch the stories are shuffled by the seed and laid end to end, and the stream is cut into pieces of
``context`` tokens. A block's inputs are ``<sink>`` and all but the last token of its piece; its targets are
the whole piece: position i predicts the token at i + 1, and the last position predicts the stream's next
token. No block crosses epochs, and the position in the data is one number: how many blocks were taken. Cut
one after another, the pieces make each token a target exactly once per epoch (except for the last, partial
piece); a share of them may start at the next story instead (see `Blocks`). Without ``<sink>`` the inputs are
the piece itself, so its first token is no target.

Shapes: B blocks, T = context.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurelius.data.store import TokenStore
from aurelius.errors import RunError
from aurelius.special_tokens import IGNORE_INDEX


def inputs_and_targets(pieces: Any, lead: int | None) -> tuple[Any, Any]:
    """Return the inputs and targets [B, T] of pieces [B, T], all arrays of NumPy or tensors of PyTorch."""
    shifted = pieces + 0  # a copy, of either kind
    if lead is None:
        shifted[:, :-1] = pieces[:, 1:]
        shifted[:, -1] = IGNORE_INDEX
        return pieces, shifted
    shifted[:, 1:] = pieces[:, :-1]
    shifted[:, 0] = lead
    return shifted, pieces


@dataclass(frozen=True, eq=False)
class Epoch:
    """One pass over the stories: their order, where each ends in its stream, and where its blocks start."""

    order: NDArray[np.int64]
    story_ends: NDArray[np.int64]
    block_starts: NDArray[np.int64]


class Blocks:
    """The endless sequence of training blocks; block n is always the same."""

    def __init__(self, store: TokenStore, context: int, seed: int, story_start: float = 0.0):
        """Cut ``store`` into blocks of ``context`` tokens.

        A block starts where the one before it ended, so that every token is a target exactly once per epoch.
        But a share ``story_start`` of the blocks skips ahead to the next story; what they leave out differs
        from epoch to epoch.

        Raises:
            RunError: the stories do not fill one block.
        """
        self.store, self.context, self.seed, self.story_start = store, context, seed, story_start
        if len(store.ids) < context:
            raise RunError(
                f"the stories hold {len(store.ids)} tokens, less than one block of {context}; "
                "add stories or lower model.context"
            )
        self.epoch = lru_cache(maxsize=2)(self._epoch)
        self._first_blocks = [0]  # the first block of each epoch so far

    @property
    def per_epoch(self) -> int:
        """Blocks in the first epoch; if blocks start with stories, other epochs have a few more or fewer."""
        return len(self.epoch(0).block_starts)

    def locate(self, block: int) -> tuple[int, int]:
        """Return the epoch of a block and its index within the epoch."""
        while self._first_blocks[-1] <= block:
            epoch = self.epoch(len(self._first_blocks) - 1)
            self._first_blocks.append(self._first_blocks[-1] + len(epoch.block_starts))
        number = bisect_right(self._first_blocks, block) - 1
        return number, block - self._first_blocks[number]

    def batch(self, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return inputs and targets [B, T] of ``count`` blocks from ``first`` on.

        ``<s>`` as a target is IGNORE_INDEX. A batch may span two epochs; a block never does.
        """
        pieces = np.stack([self.piece(n) for n in range(first, first + count)])
        inputs, targets = inputs_and_targets(pieces, self.store.special.lead)
        return inputs, np.where(targets == self.store.special.never_target, IGNORE_INDEX, targets)

    def piece(self, block: int) -> NDArray[np.int64]:
        """Return the ``context`` consecutive tokens of the epoch's stream that are this block's targets."""
        number, index = self.locate(block)
        epoch = self.epoch(number)
        starts, ids = self.store.starts, self.store.ids
        out = np.empty(self.context, dtype=np.int64)
        position, filled = int(epoch.block_starts[index]), 0
        at = int(np.searchsorted(epoch.story_ends, position, side="right"))
        while filled < self.context:
            story = epoch.order[at]
            begin = int(starts[story + 1] - (epoch.story_ends[at] - position))
            taken = ids[begin : min(int(starts[story + 1]), begin + self.context - filled)]
            out[filled : filled + len(taken)] = taken
            filled += len(taken)
            position += len(taken)
            at += 1
        return out

    def _epoch(self, number: int) -> Epoch:
        random = np.random.Generator(np.random.PCG64([self.seed, number]))
        order = random.permutation(len(self.store))
        story_ends = np.cumsum(np.diff(self.store.starts)[order])
        return Epoch(order, story_ends, self._block_starts(story_ends))

    def _block_starts(self, story_ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the blocks of an epoch start in its stream."""
        story_starts = [0, *story_ends.tolist()]  # the last one is the end of the stream
        last, starts, position = story_starts[-1] - self.context, [], 0
        while position <= last:
            starts.append(position)
            position += self.context
            number = len(starts)
            if int((number + 1) * self.story_start) > int(number * self.story_start):
                position = story_starts[min(bisect_left(story_starts, position), len(story_starts) - 1)]
        return np.asarray(starts, dtype=np.int64)
