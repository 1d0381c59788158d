"""A teller of small stories in simple English: the corpus that needs no download.

Every story is a pure function of two integers, so any part of the endless series can be had at random.
"""

from collections.abc import Iterator

__all__ = ["stories", "tell"]


def tell(seed: int, index: int) -> str:
    """Tell one story.

    Args:
        seed: which endless series of stories; any integer.
        index: which story of that series; any integer.

    Returns:
        The story: 60 to 300 words of plain ASCII, in 2 to 6 paragraphs parted by single newlines, always the
        same for the same seed and index.
    """
    from aurelius.corpus.storyteller.teller import compose

    return compose(seed, index).text


def stories(count: int, seed: int = 0) -> Iterator[str]:
    """Tell the first stories of a series.

    Args:
        count: how many stories; none if it is not positive.
        seed: which series.

    Returns:
        An iterator over `tell(seed, 0)` to `tell(seed, count - 1)`.
    """
    return (tell(seed, index) for index in range(count))
