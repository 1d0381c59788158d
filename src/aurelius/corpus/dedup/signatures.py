"""How near duplicates are found: word 5-grams, and their MinHash signatures, cut into bands.

Source: Broder 1997 (shingles), Indyk and Motwani 1998 (locality-sensitive hashing); `rensa` computes the
signatures (R-MinHash). Twelve bands of five values find a pair of Jaccard similarity 0.8 with probability
1 - (1 - 0.8**5)**12 = 0.991, one of 0.5 with 0.32.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue]  (it has no stubs)

GRAM = 5  # words of a shingle
BANDS = 12
ROWS = 5
VALUES = 64  # of a signature; rensa is fastest at powers of two, and four stay unused
SEED = 1
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, from the golden ratio (Knuth, TAOCP 6.4)


class _Words(dict[bytes, int]):
    """64-bit hashes of words; words repeat, so each is hashed once."""

    CACHE_SIZE = 1_000_000

    def __missing__(self, word: bytes) -> int:
        if len(self) >= self.CACHE_SIZE:
            self.clear()
        value = int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")
        self[word] = value
        return value


_words = _Words()


def shingles(texts: Sequence[list[bytes]]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Hash the word 5-grams of each list of words; a shorter text is one shingle.

    Returns:
        The hashes of one text after another, and where those of each text begin, [N + 1].
    """
    padded = [hash_ for words in texts for hash_ in map(_words.__getitem__, words or [b""])]
    lengths = np.array([max(1, len(words)) for words in texts], np.int64)
    values = np.concatenate((np.array(padded, np.uint64), np.zeros(GRAM, np.uint64)))
    ends = np.cumsum(lengths)
    left = np.repeat(ends, lengths) - np.arange(lengths.sum())  # words from here to the text's end
    total = np.zeros(len(left), np.uint64)
    for k in range(GRAM):
        word = np.where(left > k, values[k : k + len(left)], np.uint64(0))
        total = (total ^ word) * MULTIPLIER
        total ^= total >> np.uint64(29)
    first = np.repeat(ends - lengths, lengths)
    full = (left >= GRAM) | (np.arange(len(left)) == first)
    counts = np.maximum(1, lengths - GRAM + 1)
    starts = np.concatenate(([0], np.cumsum(counts)))
    return (total[full] >> np.uint64(32)).astype(np.uint32), starts


def bands(flat: NDArray[np.uint32], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the hashes of the bands of each text's signature [N, BANDS]; sharing one is a hint."""
    if len(starts) == 1:
        return np.zeros((0, BANDS), np.uint64)
    # rensa expects 64-bit hashes; spread ours over that range
    tokens = flat.astype(np.uint64) * MULTIPLIER
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(tokens, starts.astype(np.uint64), VALUES, SEED)
    signatures = np.array(matrix.to_rows(), np.uint64)[:, : BANDS * ROWS].reshape(-1, BANDS, ROWS)
    found = np.zeros(signatures.shape[:2], np.uint64)
    for k in range(ROWS):
        found = (found ^ signatures[:, :, k]) * MULTIPLIER
        found ^= found >> np.uint64(31)
    return found


def unique(flat: NDArray[np.uint32], starts: NDArray[np.int64]) -> list[bytes]:
    """Return each text's distinct shingles, sorted, as bytes."""
    text = np.repeat(np.arange(len(starts) - 1, dtype=np.uint64), np.diff(starts))
    tagged = np.sort(text << np.uint64(32) | flat)
    tagged = tagged[np.r_[True, tagged[1:] != tagged[:-1]][: len(tagged)]]
    bounds = np.searchsorted(tagged, np.arange(len(starts), dtype=np.uint64) << np.uint64(32)) * 4
    values = (tagged & np.uint64(2**32 - 1)).astype("<u4").tobytes()
    return [values[a:b] for a, b in pairwise(bounds.tolist())]
