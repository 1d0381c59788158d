"""Stage 3: stories as one uint16 stream, and the blocks that training reads from it.

The store keeps ``<s> story </s>`` one after another. In each epoch the stories are shuffled by the seed and
laid out as one stream, from which pieces of ``context`` tokens are cut. A block feeds ``<sink>`` and all but
the last token of its piece, and its targets are the whole piece: position i predicts the token at i + 1, the
last position the stream's next one. No block crosses epochs, and the place in the data is one number: blocks
taken. Cut one after the other the pieces make each token a target exactly once an epoch (but for the last,
partial piece); a share of them may begin at the next story instead (see `Blocks`).

Shapes: B blocks, T = context.
"""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aurelius.corpus import build as corpus
from aurelius.errors import RunError
from aurelius.files import atomic, read_json, write_json
from aurelius.progress import SILENT, Progress
from aurelius.special_tokens import IGNORED, OURS, Special
from aurelius.tokenizer import load as tokenizer
from aurelius.tokenizer.encode import Encoder

SIZES = "bytes.json"  # of the texts


def build(corpus_folder: Path, tokenizer_folder: Path, out: Path, progress: Progress = SILENT) -> None:
    """Encode both sides of the split and write the token folder ``out``.

    Raises:
        RunError: an earlier artifact is missing or damaged.
    """
    encoder = Encoder(tokenizer.load(tokenizer_folder / "tokenizer.json"))
    special = Special.read(tokenizer_folder)
    begin, end = (np.array([token], "<u2").tobytes() for token in (special.begin, special.end))
    end = b"" if begin == end else end
    out.mkdir(parents=True, exist_ok=True)
    special.write(out)
    sizes = {}
    for name in ("train", "valid"):
        texts = corpus.Texts(corpus_folder, name)
        sizes[name] = 0
        starts = np.zeros(len(texts) + 1, dtype=np.int64)
        with (
            progress.task(f"tokens: encoding {name}", len(texts), "stories") as task,
            (out / f"{name}.bin").open("wb") as file,
        ):
            for at, text in enumerate(texts):
                ids = begin + encoder.encode(text) + end
                starts[at + 1] = starts[at] + len(ids) // 2
                sizes[name] += len(text.encode())
                file.write(ids)
                task.advance()
        with atomic(out / f"{name}.documents.npy") as path, path.open("wb") as file:
            np.save(file, starts, allow_pickle=False)
    write_json(out / SIZES, sizes)


@dataclass(frozen=True, eq=False)
class Stories:
    """One side of the split as tokens: document i is ``ids[starts[i] : starts[i + 1]]``."""

    ids: NDArray[np.integer]
    starts: NDArray[np.int64]
    text_bytes: int = 0  # of the documents' texts in UTF-8
    special: Special = OURS

    @classmethod
    def open(cls, folder: Path, name: str) -> "Stories":
        """Map ``train`` or ``valid`` of a token folder into memory.

        Raises:
            RunError: the files are missing or do not fit each other.
        """
        try:
            starts = np.load(folder / f"{name}.documents.npy", allow_pickle=False)
            ids = np.memmap(folder / f"{name}.bin", dtype="<u2", mode="r")
        except (OSError, ValueError) as error:
            raise RunError(f"the tokens in {folder} cannot be read: {error}") from None
        if len(starts) < 2 or starts[-1] != len(ids):
            raise RunError(f"{folder / name}.bin has {len(ids)} tokens, its index {starts[-1:].tolist()}")
        return cls(ids, starts, read_json(folder / SIZES)[name], Special.read(folder))

    def bits_per_byte(self, nats_per_token: float) -> float:
        """Turn a loss over all tokens but ``<s>`` into bits per byte of the texts."""
        return nats_per_token * (len(self.ids) - len(self)) / (math.log(2) * self.text_bytes)

    def __len__(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True, eq=False)
class Epoch:
    """One pass over the stories: their order, where in its stream each ends, and where its blocks begin."""

    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    positions: NDArray[np.int64]


class Blocks:
    """The endless sequence of training blocks; block n is the same whenever and wherever it is asked for."""

    def __init__(self, stories: Stories, context: int, seed: int, story_start: float = 0.0):
        """Cut ``stories`` into blocks of ``context``.

        Each block begins where the one before it ended, so that every token is a target exactly once an
        epoch; but a share ``story_start`` of the blocks begin at the next story from there on, and what they
        leave out is other parts of other stories in each epoch.

        Raises:
            RunError: the stories do not fill a block.
        """
        self.stories, self.context, self.seed, self.story_start = stories, context, seed, story_start
        if len(stories.ids) < context:
            raise RunError(
                f"the stories hold {len(stories.ids)} tokens, less than one block of {context}; "
                "add stories or lower model.context"
            )
        self.epoch = lru_cache(maxsize=2)(self._epoch)
        self._firsts = [0]  # the first block of each epoch so far

    @property
    def per_epoch(self) -> int:
        """The blocks of the first epoch; where blocks begin with stories others have a few more or less."""
        return len(self.epoch(0).positions)

    def place(self, block: int) -> tuple[int, int]:
        """Return the epoch of a block and its number there."""
        while self._firsts[-1] <= block:
            self._firsts.append(self._firsts[-1] + len(self.epoch(len(self._firsts) - 1).positions))
        epoch = bisect_right(self._firsts, block) - 1
        return epoch, block - self._firsts[epoch]

    def batch(self, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return inputs and targets [B, T] of ``count`` blocks from ``first`` on, ``<s>`` IGNORED.

        Consecutive blocks of a batch may lie in two epochs, never one block.
        """
        pieces = np.stack([self.piece(n) for n in range(first, first + count)])
        inputs = np.empty_like(pieces)
        inputs[:, 0] = self.stories.special.lead
        inputs[:, 1:] = pieces[:, :-1]
        return inputs, np.where(pieces == self.stories.special.given, IGNORED, pieces)

    def piece(self, block: int) -> NDArray[np.int64]:
        """Return the ``context`` consecutive tokens of the epoch's stream that are this block's targets."""
        number, index = self.place(block)
        epoch = self.epoch(number)
        starts, ids = self.stories.starts, self.stories.ids
        out = np.empty(self.context, dtype=np.int64)
        position, filled = int(epoch.positions[index]), 0
        at = int(np.searchsorted(epoch.ends, position, side="right"))
        while filled < self.context:
            document = epoch.order[at]
            begin = int(starts[document + 1] - (epoch.ends[at] - position))
            taken = ids[begin : min(int(starts[document + 1]), begin + self.context - filled)]
            out[filled : filled + len(taken)] = taken
            filled += len(taken)
            position += len(taken)
            at += 1
        return out

    def _epoch(self, number: int) -> Epoch:
        random = np.random.Generator(np.random.PCG64([self.seed, number]))
        order = random.permutation(len(self.stories))
        ends = np.cumsum(np.diff(self.stories.starts)[order])
        return Epoch(order, ends, self._positions(ends))

    def _positions(self, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the blocks of an epoch begin in its stream."""
        begins = [0, *ends.tolist()]  # the last is no story's, but where the stream ends
        most, positions, position = begins[-1] - self.context, [], 0
        while position <= most:
            positions.append(position)
            position += self.context
            number = len(positions)
            if int((number + 1) * self.story_start) > int(number * self.story_start):
                position = begins[min(bisect_left(begins, position), len(begins) - 1)]
        return np.asarray(positions, dtype=np.int64)
