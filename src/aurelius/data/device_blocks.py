"""Batches of training blocks as tensors on the model's device."""

import numpy as np
import torch
from torch import Tensor

from aurelius.data.blocks import Blocks, inputs_and_targets
from aurelius.special_tokens import IGNORE_INDEX


class DeviceBlocks:
    """The blocks of a `Blocks` as tensors; on a GPU they are cut there, from the epoch's stream."""

    def __init__(self, blocks: Blocks, device: torch.device):
        self.blocks, self.device = blocks, device
        self._epoch = -1
        self._stream = self._block_starts = torch.empty(0)
        self._ids: Tensor | None = None

    def batch(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets [B, T], as `Blocks.batch` does."""
        if self.device.type == "cuda":
            return self.cut_on_device(first, count)
        inputs, targets = self.blocks.batch(first, count)
        return torch.from_numpy(inputs).to(self.device), torch.from_numpy(targets).to(self.device)

    def cut_on_device(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Do the same on the device, which holds corpus and epoch stream (4 bytes per token each)."""
        pieces = []
        within = torch.arange(self.blocks.context, device=self.device)
        while count:
            number, index = self.blocks.locate(first)
            stream = self._stream_of(number)
            starts = self._block_starts[index : index + count]
            pieces.append(stream[starts.unsqueeze(1) + within])
            first, count = first + len(starts), count - len(starts)
        special = self.blocks.store.special
        inputs, targets = inputs_and_targets(torch.cat(pieces).long(), special.lead)
        return inputs, targets.masked_fill(targets == special.never_target, IGNORE_INDEX)

    def _stream_of(self, number: int) -> Tensor:
        """Return an epoch's stream of tokens on the device."""
        if number != self._epoch:
            store, epoch = self.blocks.store, self.blocks.epoch(number)
            if self._ids is None:
                self._ids = torch.from_numpy(np.asarray(store.ids).astype(np.int32)).to(self.device)
            lengths = torch.from_numpy(np.diff(store.starts)[epoch.order]).to(self.device)
            # Token t of the epoch's stream is at t plus the distance that its story was moved.
            moved = torch.from_numpy(store.starts[1:][epoch.order] - epoch.story_ends).to(self.device)
            index = torch.arange(int(epoch.story_ends[-1]), device=self.device)
            index += moved.repeat_interleave(lengths)
            self._block_starts = torch.from_numpy(epoch.block_starts).to(self.device)
            self._stream, self._epoch = self._ids[index], number
        return self._stream
