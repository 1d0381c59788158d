"""Batches where the model is."""

import numpy as np
import torch
from torch import Tensor

from aurelius.data.tokens import Blocks
from aurelius.special_tokens import IGNORED


class Feed:
    """Gives the blocks of a `Blocks` as tensors; on a GPU they are cut there, from an epoch's stream."""

    def __init__(self, blocks: Blocks, device: torch.device):
        self.blocks, self.device = blocks, device
        self._number = -1
        self._stream = self._begins = torch.empty(0)
        self._ids: Tensor | None = None

    def batch(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets [B, T] as `Blocks.batch` does."""
        if self.device.type == "cuda":
            return self.cut(first, count)
        inputs, targets = self.blocks.batch(first, count)
        return torch.from_numpy(inputs).to(self.device), torch.from_numpy(targets).to(self.device)

    def cut(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Do the same on the device, where an epoch's stream is kept (4 bytes a token, the corpus twice)."""
        pieces = []
        within = torch.arange(self.blocks.context, device=self.device)
        while count:
            number, index = self.blocks.place(first)
            stream = self._stream_of(number)
            begins = self._begins[index : index + count]
            pieces.append(stream[begins.unsqueeze(1) + within])
            first, count = first + len(begins), count - len(begins)
        targets = torch.cat(pieces).long()
        inputs = targets.roll(1, 1)
        special = self.blocks.stories.special
        inputs[:, 0] = special.lead
        return inputs, targets.masked_fill(targets == special.given, IGNORED)

    def _stream_of(self, number: int) -> Tensor:
        """Return an epoch's stream of tokens on the device."""
        if number != self._number:
            stories, epoch = self.blocks.stories, self.blocks.epoch(number)
            if self._ids is None:
                self._ids = torch.from_numpy(np.asarray(stories.ids).astype(np.int32)).to(self.device)
            lengths = torch.from_numpy(np.diff(stories.starts)[epoch.order]).to(self.device)
            # Token t of the epoch's stream is t plus how far its story was moved.
            moved = torch.from_numpy(stories.starts[1:][epoch.order] - epoch.ends).to(self.device)
            index = torch.arange(int(epoch.ends[-1]), device=self.device) + moved.repeat_interleave(lengths)
            self._begins = torch.from_numpy(epoch.positions).to(self.device)
            self._stream, self._number = self._ids[index], number
        return self._stream
