"""What happens to every story that cleaning kept: which side of the split it is on, or why it is on none.

All of it depends on the stories alone, not on their order: of stories that are the same, or nearly the same,
the one with the lowest digest stays; the sample and the split go by hashes of the text.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aurelius.config.settings import CorpusSettings
from aurelius.corpus import shards
from aurelius.corpus.dedup import duplicates
from aurelius.corpus.dedup.signatures import BANDS

TRAIN, VALID, REPEATED, NEAR, OVERLAP, NOT_SAMPLED = range(6)
REASONS = {
    REPEATED: "exact duplicate",
    NEAR: "near duplicate",
    OVERLAP: "among the held-out stories",
    NOT_SAMPLED: "left out of the sample",
}


@dataclass(frozen=True)
class Fates:
    """What happens to each of N stories, numbered through all shards."""

    fate: NDArray[np.int8]
    similarity: NDArray[np.float64]  # the highest found to another story
    pairs: list[int]  # some near duplicates, each followed by the story that is kept
    first: list[int]  # the number of each shard's first story
    figures: dict[str, float]


def decide(kept: Sequence[Path], held_out: Sequence[Path], recipe: CorpusSettings) -> Fates:
    """Find duplicates among the stories of the shards ``kept`` and split the rest.

    Stories of the shards ``held_out`` are the validation stories; without any, a share of the others is.
    """
    everything = [*kept, *held_out]
    digests = shards.column(everything, "digest", 2)
    N = len(digests)
    lengths = [shards.kept_count(shard) for shard in everything]
    first = np.concatenate(([0], np.cumsum(lengths))).astype(int).tolist()
    # From here on stories are numbered in the order of their digests.
    order = np.lexsort((np.arange(N), digests[:, 1], digests[:, 0]))
    outside = order >= first[len(kept)]
    keys = shards.column(everything, "same", 2)[order]
    group = duplicates.same(keys)
    repeated, twin = _repeats(group, ~outside)
    unique = np.flatnonzero(~repeated)
    cluster, similarity = np.arange(N), np.zeros(N)
    if recipe.near_duplicates != "keep" or len(held_out):
        place = np.full(N, -1)
        place[order[unique]] = np.arange(len(unique))

        def sets(wanted: NDArray[np.bool_]):
            chosen = np.zeros(N, bool)
            chosen[order[unique[wanted]]] = True
            found = shards.shingle_sets(everything, chosen)
            return {int(place[row]): values for row, values in found.items()}

        bands = shards.column(everything, "bands", BANDS)[order[unique]]
        local, highest = duplicates.clusters(bands, sets, recipe.similarity)
        cluster[unique], similarity[unique] = unique[local], highest
        cluster = np.where(repeated, cluster[twin], cluster)
    near, nearest = _repeats(cluster, ~outside & ~repeated)

    fate = np.zeros(N, np.int8)
    overlaps = ~outside & np.isin(group, group[outside])
    nearly = ~outside & ~overlaps & np.isin(cluster, cluster[outside])
    figures = _figures(repeated, near, cluster, outside, recipe)
    if len(held_out):
        figures |= {
            "overlap_exact": int((overlaps & ~repeated).sum()),
            "overlap_near": int((nearly & ~repeated).sum()),
        }
    if recipe.remove_overlap:
        fate[overlaps | nearly] = OVERLAP
    if recipe.near_duplicates == "drop":
        fate[near] = NEAR
        twin = np.where(near, nearest, twin)
    fate[repeated] = REPEATED
    fate[outside] = VALID
    free = np.flatnonzero(fate == TRAIN)
    texts = [digests[row].astype(">u8").tobytes() for row in order[free]]
    if recipe.stories and len(free) > recipe.stories:
        ranks = np.argsort([fraction(text, recipe.seed, b"sample") for text in texts], kind="stable")
        fate[free[ranks[recipe.stories :]]] = NOT_SAMPLED
    if not len(held_out):
        _hold_out(
            fate, digests[order], cluster if recipe.near_duplicates == "together" else np.arange(N), recipe
        )

    back = np.empty(N, np.int64)
    back[order] = np.arange(N)
    examples = np.flatnonzero(fate == NEAR)[: shards.EXAMPLES]
    pairs = order[np.stack((examples, twin[examples]), 1)].flatten().tolist()
    return Fates(fate[back], similarity[back], pairs, first, figures)


def fraction(digest: bytes, seed: int, use: bytes = b"split") -> float:
    """Map a story's digest to [0, 1), uniformly and independently for every seed and use."""
    mixed = hashlib.blake2b(digest, digest_size=8, salt=seed.to_bytes(8, "little"), person=use).digest()
    return int.from_bytes(mixed, "little") / 2**64


def _repeats(
    group: NDArray[np.int64], among: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which rows ``among`` follow another of their group there, and its number (else -1)."""
    rows = np.flatnonzero(among)
    _, first, inverse = np.unique(group[rows], return_index=True, return_inverse=True)
    leader = rows[first[inverse]]
    repeated = np.zeros(len(group), bool)
    repeated[rows] = leader != rows
    twin = np.full(len(group), -1)
    twin[rows] = np.where(leader != rows, leader, -1)
    return repeated, twin


def _figures(
    repeated: NDArray[np.bool_],
    near: NDArray[np.bool_],
    cluster: NDArray[np.int64],
    outside: NDArray[np.bool_],
    recipe: CorpusSettings,
) -> dict[str, float]:
    """Return the duplicate rates, as shares of the stories that cleaning kept."""
    compared = int((~outside).sum())
    sizes = np.bincount(cluster[~outside & ~repeated], minlength=1)
    return {
        "compared": compared,
        "exact_duplicates": int(repeated.sum()),
        "exact_share": round(repeated.sum() / max(1, compared), 6),
        "near_duplicates": int(near.sum()),
        "near_share": round(near.sum() / max(1, compared), 6),
        "near_clusters": int((sizes > 1).sum()),
        "largest_cluster": int(sizes.max()),
        "similarity": recipe.similarity,
    }


def _hold_out(
    fate: NDArray[np.int8], digests: NDArray[np.uint64], cluster: NDArray[np.int64], recipe: CorpusSettings
) -> None:
    """Hold out a share of the stories; a side that would stay empty gets the story closest to it."""
    rows = np.flatnonzero(fate == TRAIN)
    if not len(rows):
        return
    at = np.array([fraction(digests[cluster[row]].astype(">u8").tobytes(), recipe.seed) for row in rows])
    held_out = at < recipe.valid_fraction
    if held_out.all() or not held_out.any():
        closest = int(at.argmax() if held_out.all() else at.argmin())
        if len(np.unique(cluster[rows])) > 1:
            held_out ^= cluster[rows] == cluster[rows[closest]]
    fate[rows[held_out]] = VALID
