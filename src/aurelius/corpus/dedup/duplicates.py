"""Which stories are duplicates or near duplicates.

Two stories are the same if their words are, in lower case and without punctuation; near duplicates if the
Jaccard similarity of their word 5-grams reaches a threshold. Candidates come from shared bands (see
`signatures`); every candidate is verified on the 5-grams themselves. Near duplicates of near duplicates
belong to the same cluster.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

CHUNK = 20_000  # pairs verified at once

Sets = Callable[[NDArray[np.bool_]], Mapping[int, NDArray[np.uint32]]]


def same(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return for each row of ``keys`` [N, 2] the first row that equals it."""
    order = np.lexsort((np.arange(len(keys)), keys[:, 1], keys[:, 0]))
    new = np.ones(len(keys), bool)
    new[1:] = (keys[order[1:]] != keys[order[:-1]]).any(1)
    first = np.empty(len(keys), np.int64)
    first[order] = order[new][np.cumsum(new) - 1]
    return first


def candidates(bands: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the pairs of rows [P, 2] that share a band [N, BANDS], smaller number first, each once.

    If many rows share a band, each is paired with the first of them and with the one before it.
    """
    pairs = [np.zeros((0, 2), np.int64)]
    for band in bands.T:
        order = np.argsort(band, kind="stable")
        equal = np.flatnonzero(band[order[1:]] == band[order[:-1]]) + 1
        if not len(equal):
            continue
        starts = np.maximum.accumulate(
            np.where(np.r_[True, band[order[1:]] != band[order[:-1]]], np.arange(len(band)), 0)
        )
        pairs.append(np.stack((order[starts[equal]], order[equal]), 1))
        pairs.append(np.stack((order[equal - 1], order[equal]), 1))
    both = np.concatenate(pairs)
    codes = np.unique(both[:, 0] * len(bands) + both[:, 1])
    return np.stack((codes // len(bands), codes % len(bands)), 1)


def similarities(pairs: NDArray[np.int64], sets: Mapping[int, NDArray[np.uint32]]) -> NDArray[np.float64]:
    """Return the Jaccard similarity of each pair [P, 2]; ``sets`` holds each row's sorted shingles."""
    found = np.zeros(len(pairs))
    for first in range(0, len(pairs), CHUNK):
        chunk = pairs[first : first + CHUNK].tolist()
        sizes = np.array([(len(sets[a]), len(sets[b])) for a, b in chunk])
        number = np.repeat(np.arange(len(chunk), dtype=np.uint64), sizes.sum(1))
        values = np.concatenate([sets[row] for pair in chunk for row in pair])
        tagged = np.sort(number << np.uint64(32) | values)
        twice = tagged[1:][tagged[1:] == tagged[:-1]] >> np.uint64(32)
        common = np.bincount(twice.astype(np.int64), minlength=len(chunk))
        found[first : first + len(chunk)] = common / (sizes.sum(1) - common)
    return found


def clusters(
    bands: NDArray[np.uint64], sets: Sets, similarity: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Group near duplicates.

    Args:
        bands: [N, BANDS], see `signatures.bands`.
        sets: returns the sorted shingles of the wanted rows.
        similarity: the lowest Jaccard similarity of near duplicates.

    Returns:
        The lowest row of each row's cluster [N], itself if it has no near duplicate; and each row's highest
        similarity to another [N].
    """
    pairs = candidates(bands)
    wanted = np.zeros(len(bands), bool)
    wanted[pairs.flatten()] = True
    alike = similarities(pairs, sets(wanted))
    kept = alike >= similarity
    pairs, alike = pairs[kept], alike[kept]
    parent = list(range(len(bands)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for a, b in pairs.tolist():
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    highest = np.zeros(len(bands))
    np.maximum.at(highest, pairs.flatten(), np.repeat(alike, 2))
    return np.array([root(row) for row in range(len(bands))], np.int64), highest
