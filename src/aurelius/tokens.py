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
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aurelius import corpus, tokenizer
from aurelius.artifacts import atomic, read_json, write_json
from aurelius.errors import RunError
from aurelius.progress import SILENT, Progress
from aurelius.vocabulary import BOS, EOS, SINK

IGNORED = -100  # a target that is not learned; PyTorch's cross_entropy skips it
ENCODE_BATCH = 1000  # stories
SIZES = "bytes.json"  # of the texts


def build(corpus_folder: Path, tokenizer_folder: Path, out: Path, progress: Progress = SILENT) -> None:
    """Encode both sides of the split and write the token folder ``out``.

    Raises:
        RunError: an earlier artifact is missing or damaged.
    """
    encoder = tokenizer.load(tokenizer_folder / "tokenizer.json")
    out.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for name in ("train", "valid"):
        texts = corpus.load(corpus_folder, name)
        sizes[name] = sum(len(text.encode()) for text in texts)
        starts = np.zeros(len(texts) + 1, dtype=np.int64)
        with (
            progress.task(f"tokens: encoding {name}", len(texts), "stories") as task,
            (out / f"{name}.bin").open("wb") as file,
        ):
            for first in range(0, len(texts), ENCODE_BATCH):
                batch = encoder.encode_batch(texts[first : first + ENCODE_BATCH], add_special_tokens=False)
                for at, encoding in enumerate(batch, first):
                    ids = [BOS, *encoding.ids, EOS]
                    starts[at + 1] = starts[at] + len(ids)
                    file.write(np.asarray(ids, dtype="<u2").tobytes())
                task.advance(len(batch))
        with atomic(out / f"{name}.documents.npy") as path, path.open("wb") as file:
            np.save(file, starts, allow_pickle=False)
    write_json(out / SIZES, sizes)


@dataclass(frozen=True, eq=False)
class Stories:
    """One side of the split as tokens: document i is ``ids[starts[i] : starts[i + 1]]``."""

    ids: NDArray[np.integer]
    starts: NDArray[np.int64]
    text_bytes: int = 0  # of the documents' texts in UTF-8

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
        return cls(ids, starts, read_json(folder / SIZES)[name])

    def bits_per_byte(self, nats_per_token: float) -> float:
        """Turn a loss over all tokens but ``<s>`` into bits per byte of the texts."""
        return nats_per_token * (len(self.ids) - len(self)) / (math.log(2) * self.text_bytes)

    def __len__(self) -> int:
        return len(self.starts) - 1


class Blocks:
    """The endless sequence of training blocks; block n is the same whenever and wherever it is asked for."""

    def __init__(self, stories: Stories, context: int, seed: int, story_start: float = 0.0):
        """Cut ``stories`` into blocks of ``context``.

        Block n of an epoch begins at position n x context of its stream: each token is a target exactly once.
        A share ``story_start`` of the blocks begin at the first story from there on instead; what they cut
        off or repeat is another part of the stories in each epoch.
        """
        self.stories, self.context, self.seed, self.story_start = stories, context, seed, story_start
        self.per_epoch = len(stories.ids) // context
        if self.per_epoch == 0:
            raise RunError(
                f"the stories hold {len(stories.ids)} tokens, less than one block of {context}; "
                "add stories or lower model.context"
            )
        self.order = lru_cache(maxsize=2)(self._shuffle)

    def batch(self, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return inputs and targets [B, T] of ``count`` blocks from ``first`` on, ``<s>`` IGNORED.

        Consecutive blocks of a batch may lie in two epochs, never one block.
        """
        pieces = np.stack([self.piece(n) for n in range(first, first + count)])
        inputs = np.empty_like(pieces)
        inputs[:, 0] = SINK
        inputs[:, 1:] = pieces[:, :-1]
        return inputs, np.where(pieces == BOS, IGNORED, pieces)

    def piece(self, block: int) -> NDArray[np.int64]:
        """Return the ``context`` consecutive tokens of the epoch's stream that are this block's targets."""
        epoch, index = divmod(block, self.per_epoch)
        order, ends = self.order(epoch)
        starts, ids = self.stories.starts, self.stories.ids
        out = np.empty(self.context, dtype=np.int64)
        position, filled = int(self.positions(epoch, index, 1)[0]), 0
        at = int(np.searchsorted(ends, position, side="right"))
        while filled < self.context:
            document = order[at]
            begin = int(starts[document + 1] - (ends[at] - position))
            taken = ids[begin : min(int(starts[document + 1]), begin + self.context - filled)]
            out[filled : filled + len(taken)] = taken
            filled += len(taken)
            position += len(taken)
            at += 1
        return out

    def positions(self, epoch: int, index: int, count: int) -> NDArray[np.int64]:
        """Return where in the epoch's stream ``count`` of its blocks begin, from block ``index`` on."""
        numbers = np.arange(index, index + count)
        positions = numbers * self.context
        moved = np.floor((numbers + 1) * self.story_start) > np.floor(numbers * self.story_start)
        if not moved.any():
            return positions
        _, ends = self.order(epoch)
        begins = np.concatenate(([0], ends[:-1]))
        last = np.searchsorted(begins, ends[-1] - self.context, side="right") - 1
        nearest = begins[np.minimum(np.searchsorted(begins, positions), last)]
        return np.where(moved, nearest, positions)

    def _shuffle(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the epoch's order of documents, and where in its stream each of them ends."""
        random = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        order = random.permutation(len(self.stories))
        return order, np.cumsum(np.diff(self.stories.starts)[order])
