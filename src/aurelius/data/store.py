"""The token store: the stories of one side of the split as one stream of uint16 ids, mapped from disk.

``NAME.bin`` holds ``<s> story </s>`` one after another, ``NAME.documents.npy`` where each begins.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from aurelius.errors import RunError
from aurelius.files import atomic, read_json
from aurelius.special_tokens import OURS, SpecialTokens

TEXT_BYTES = "bytes.json"  # UTF-8 bytes of each side's texts


@dataclass(frozen=True, eq=False)
class TokenStore:
    """The tokens of one side of the split: story i is ``ids[starts[i] : starts[i + 1]]``."""

    ids: NDArray[np.integer]
    starts: NDArray[np.int64]
    text_bytes: int = 0  # of the stories in UTF-8
    special: SpecialTokens = OURS

    @classmethod
    def open(cls, folder: Path, side: str) -> "TokenStore":
        """Map ``train`` or ``valid`` of a token folder into memory.

        Raises:
            RunError: the files are missing or do not match each other.
        """
        try:
            starts = np.load(folder / f"{side}.documents.npy", allow_pickle=False)
            ids = np.memmap(folder / f"{side}.bin", dtype="<u2", mode="r")
        except (OSError, ValueError) as error:
            raise RunError(f"the tokens in {folder} cannot be read: {error}") from None
        if len(starts) < 2 or starts[-1] != len(ids):
            raise RunError(
                f"{folder / side}.bin has {len(ids)} tokens, but its index says {starts[-1:].tolist()}"
            )
        return cls(ids, starts, read_json(folder / TEXT_BYTES)[side], SpecialTokens.read(folder))

    def bits_per_byte(self, nats_per_token: float) -> float:
        """Turn a loss over all tokens that are targets into bits per byte of the stories."""
        targets = len(self.ids) - (len(self) if self.special.never_target >= 0 else 0)
        return nats_per_token * targets / (math.log(2) * self.text_bytes)

    def __len__(self) -> int:
        return len(self.starts) - 1


class StoreWriter:
    """Writes one side of the split, story by story."""

    def __init__(self, folder: Path, side: str, stories: int):
        """Begin the store of ``side`` with room for the index of ``stories``."""
        self.folder, self.side = folder, side
        self.text_bytes = 0
        self._starts = np.zeros(stories + 1, dtype=np.int64)
        self._written = 0

    def __enter__(self) -> Self:
        self._file = (self.folder / f"{self.side}.bin").open("wb")
        return self

    def add(self, text: str, ids: bytes) -> None:
        """Append a story: its text, of which only the size is kept, and its ids as little-endian uint16."""
        self._starts[self._written + 1] = self._starts[self._written] + len(ids) // 2
        self._written += 1
        self.text_bytes += len(text.encode())
        self._file.write(ids)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if error is None:
            index = self.folder / f"{self.side}.documents.npy"
            with atomic(index) as path, path.open("wb") as file:
                np.save(file, self._starts, allow_pickle=False)
