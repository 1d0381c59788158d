"""The storyteller: small stories in simple English, a corpus that needs no download.

Every story is a pure function of two integers, so any part of the endless series can be accessed directly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

__all__ = ["Stories", "stories", "tell"]


def tell(seed: int, index: int) -> str:
    """Tell one story.

    Args:
        seed: which endless series of stories; any integer.
        index: which story of that series; any integer.

    Returns:
        The story: 60 to 300 words of plain ASCII, in 2 to 6 paragraphs separated by single newlines, always
        the same for the same seed and index.
    """
    from aurelius.corpus.storyteller.teller import compose

    return compose(seed, index).text


@dataclass(frozen=True)
class Stories(Sequence[str]):
    """Part of a series; its stories are made when they are accessed."""

    seed: int
    indices: range

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "Stories": ...
    def __getitem__(self, at: int | slice) -> "str | Stories":
        if isinstance(at, slice):
            return Stories(self.seed, self.indices[at])
        return tell(self.seed, self.indices[at])


def stories(count: int, seed: int = 0) -> Stories:
    """Return the first stories of a series.

    Args:
        count: how many stories; none if not positive.
        seed: which series.

    Returns:
        `tell(seed, 0)` to `tell(seed, count - 1)`, each made when it is accessed.
    """
    return Stories(seed, range(count))
