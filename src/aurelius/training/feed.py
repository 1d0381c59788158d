"""Batches where the model is."""

import numpy as np
import torch
from torch import Tensor

from aurelius.tokens import IGNORED, Blocks
from aurelius.vocabulary import BOS, SINK


class Feed:
    """Gives the blocks of a `Blocks` as tensors; on a GPU they are cut there, from an epoch's stream."""

    def __init__(self, blocks: Blocks, device: torch.device):
        self.blocks, self.device = blocks, device
        self._epoch = -1
        self._stream = torch.empty(0)
        self._ids: Tensor | None = None

    def batch(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets [B, T] as `Blocks.batch` does."""
        if self.device.type != "cuda":
            inputs, targets = self.blocks.batch(first, count)
            return torch.from_numpy(inputs).to(self.device), torch.from_numpy(targets).to(self.device)
        pieces = []
        while count:
            epoch, index = divmod(first, self.blocks.per_epoch)
            taken = min(count, self.blocks.per_epoch - index)
            begins = torch.from_numpy(self.blocks.positions(epoch, index, taken)).to(self.device)
            within = torch.arange(self.blocks.context, device=self.device)
            pieces.append(self._of(epoch)[begins.unsqueeze(1) + within])
            first, count = first + taken, count - taken
        targets = torch.cat(pieces).long()
        inputs = targets.roll(1, 1)
        inputs[:, 0] = SINK
        return inputs, targets.masked_fill(targets == BOS, IGNORED)

    def _of(self, epoch: int) -> Tensor:
        """Return the epoch's stream of tokens on the device."""
        if epoch != self._epoch:
            stories = self.blocks.stories
            if self._ids is None:
                self._ids = torch.from_numpy(np.asarray(stories.ids).astype(np.int32)).to(self.device)
            order, ends = self.blocks.order(epoch)
            lengths = torch.from_numpy(np.diff(stories.starts)[order]).to(self.device)
            # Token t of the epoch's stream is t plus how far its story was moved.
            moved = torch.from_numpy(stories.starts[1:][order] - ends).to(self.device)
            index = torch.arange(int(ends[-1]), device=self.device) + moved.repeat_interleave(lengths)
            self._stream, self._epoch = self._ids[index], epoch
        return self._stream
