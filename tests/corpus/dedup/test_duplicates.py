"""Duplicates against exact Jaccard similarities, and against copies that were planted."""

import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelius.corpus import storyteller
from aurelius.corpus.clean import words_of
from aurelius.corpus.dedup import duplicates, signatures
from aurelius.corpus.readers.sources import open_path

TEXTS = st.lists(st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=12), min_size=1, max_size=8)


def grams(words: list[bytes]) -> set[tuple[bytes, ...]]:
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def jaccard(one: str, other: str) -> float:
    a, b = grams(words_of(one)), grams(words_of(other))
    return len(a & b) / len(a | b)


@given(TEXTS)
def test_shingles_are_the_word_5_grams(texts: list[list[bytes]]):
    flat, starts = signatures.shingles(texts)
    unique = signatures.unique(flat, starts)
    for words, values, first, last in zip(texts, unique, starts, starts[1:], strict=False):
        assert last - first == max(1, len(words) - 4)
        assert len(values) == 4 * len(grams(words)), "different 5-grams have different hashes"
        assert np.frombuffer(values, "<u4").tolist() == sorted(set(flat[first:last].tolist()))
    for (i, a), (j, b) in combinations(enumerate(texts), 2):
        if len(a) > 4 and len(b) > 4:
            common = set(np.frombuffer(unique[i], "<u4")) & set(np.frombuffer(unique[j], "<u4"))
            assert len(common) == len(grams(a) & grams(b))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_same_gives_the_first_of_equal_rows(rows: list[tuple[int, int]]):
    keys = np.array(rows, np.uint64).reshape(-1, 2)
    assert duplicates.same(keys).tolist() == [rows.index(row) for row in rows]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=20))
def test_candidates_connect_all_rows_that_share_a_band(rows: list[tuple[int, int]]):
    pairs = duplicates.candidates(np.array(rows, np.uint64).reshape(-1, 2)).tolist()
    assert all(a < b and any(x == y for x, y in zip(rows[a], rows[b], strict=True)) for a, b in pairs)
    assert len({tuple(pair) for pair in pairs}) == len(pairs)
    for band in range(2):
        for value in range(3):
            members = [i for i, row in enumerate(rows) if row[band] == value]
            assert all([members[0], other] in pairs for other in members[1:])


def find(texts: list[str], similarity: float = 0.8):
    flat, starts = signatures.shingles([words_of(text) for text in texts])
    sets = [np.frombuffer(values, "<u4") for values in signatures.unique(flat, starts)]
    return duplicates.clusters(
        signatures.bands(flat, starts), lambda wanted: dict(enumerate(sets)), similarity
    )


def stories(sample: Path | None, count: int) -> list[str]:
    if sample is None:
        return list(storyteller.stories(count))
    return list(open_path(sample).stories)[:count]


def edited(text: str, random_: random.Random) -> str:
    """Change a story as copies differ: some words, all names, or its end."""
    words = text.split(" ")
    way = random_.randrange(3)
    if way == 0:
        for at in random_.sample(range(len(words)), random_.randint(1, max(1, len(words) // 30))):
            words[at] = "blue"
    elif way == 1:
        name = next((w for w in words if w.istitle() and w.isalpha() and len(w) > 3), words[0])
        words = ["Zara" if word == name else word for word in words]
    else:
        words = words[: random_.randint(int(len(words) * 0.75), len(words))]
    return " ".join(words)


@pytest.mark.parametrize("corpus", ["storyteller", "real"])
def test_only_planted_near_duplicates_are_found(corpus: str, request: pytest.FixtureRequest):
    sample = request.getfixturevalue("train_sample") if corpus == "real" else None
    random_ = random.Random(0)
    originals = stories(sample, 1500)
    copies = [edited(text, random_) for text in originals[:1000]]
    cluster, _ = find([*originals, *copies])
    alike = [jaccard(a, b) for a, b in zip(originals, copies, strict=False)]
    found = [cluster[i] == cluster[len(originals) + i] for i in range(len(copies))]
    near = [f for f, j in zip(found, alike, strict=True) if j >= 0.8]
    assert len(near) > 500 and sum(near) >= 0.95 * len(near)
    # Whatever is in a cluster is near another story of it, as counted exactly.
    texts = [*originals, *copies]
    members: dict[int, list[int]] = {}
    for row, leader in enumerate(cluster.tolist()):
        members.setdefault(leader, []).append(row)
    several = [rows for rows in members.values() if len(rows) > 1]
    right = sum(
        any(jaccard(texts[row], texts[other]) >= 0.8 for other in rows if other != row)
        for rows in several
        for row in rows
    )
    assert right >= 0.99 * sum(map(len, several))


def test_similarities_are_exact():
    texts = [*storyteller.stories(30)]
    texts += [edited(text, random.Random(1)) for text in texts]
    flat, starts = signatures.shingles([words_of(text) for text in texts])
    sets = dict(enumerate(np.frombuffer(v, "<u4") for v in signatures.unique(flat, starts)))
    pairs = np.array(list(combinations(range(len(texts)), 2)))
    expected = [jaccard(texts[a], texts[b]) for a, b in pairs]
    assert duplicates.similarities(pairs, sets) == pytest.approx(expected)


def test_chains_are_one_cluster_and_the_threshold_counts():
    words = [f"w{n}" for n in range(200)]
    chain = [" ".join([*words[:at], "x", *words[at + 1 :]]) for at in (20, 100, 180)]
    cluster, similarity = find([*chain, "something else that is told here"])
    assert cluster.tolist() == [0, 0, 0, 3]
    assert similarity[:3] == pytest.approx(max(jaccard(chain[0], chain[1]), 0.9), abs=0.03)
    assert similarity[3] == 0
    assert find(chain, similarity=0.99)[0].tolist() == [0, 1, 2]
