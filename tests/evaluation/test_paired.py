import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from aurelius.errors import CompareError
from aurelius.evaluation import paired
from aurelius.evaluation.paired import bits_per_byte, difference, over_documents, over_seeds

SIZES = np.random.default_rng(0).integers(300, 1500, 200).astype(float)
BASE = 0.6 * SIZES + np.random.default_rng(1).normal(0, 30, 200)  # documents differ a lot from each other


def shifted(by: float, noise: float, seed: int) -> np.ndarray:
    """Return nats that are ``by`` bits per byte above BASE, with noise between documents."""
    random = np.random.default_rng(seed)
    return BASE + SIZES * (by * np.log(2) + random.normal(0, noise, len(SIZES)))


def test_a_model_does_not_differ_from_itself():
    found = difference(BASE, BASE, SIZES)
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0) and not found.is_clear
    several = np.stack([BASE, shifted(0.1, 0.01, 2)])
    found = difference(several, several, SIZES)
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_known_shift_is_found_though_documents_differ_more_than_models():
    found = difference(BASE, shifted(-0.02, 0.02, 3), SIZES)
    assert found.low < -0.02 < found.high < 0 and found.p < 0.001 and found.is_clear
    assert found.high - found.low < 0.01 < np.std(BASE / SIZES), "pairing takes the documents' spread away"
    exact = difference(BASE, shifted(0.05, 0.0, 3), SIZES)
    assert (exact.value, exact.low, exact.high) == pytest.approx((0.05,) * 3)


def test_without_a_shift_0_lies_within_and_p_agrees_with_a_paired_t_test():
    for seed in range(4, 8):
        other = shifted(0.0, 0.02, seed)
        found = difference(BASE, other, SIZES)
        assert found.p == pytest.approx(ttest_rel(other, BASE).pvalue, abs=0.03)
        assert found.is_clear == (found.p < 0.05)


def test_sides_can_be_swapped():
    other = shifted(0.01, 0.02, 9)
    one, two = difference(BASE, other, SIZES), difference(other, BASE, SIZES)
    assert one.value == pytest.approx(-two.value) and one.p == pytest.approx(two.p, abs=0.02)
    assert (one.low, one.high) == pytest.approx((-two.high, -two.low), abs=5e-4)


def test_a_single_seed_gives_no_interval_over_seeds():
    with pytest.raises(CompareError, match="at least 2 seeds"):
        over_seeds(BASE[None], shifted(0.1, 0.01, 2)[None], SIZES)
    assert difference(BASE[None], shifted(0.1, 0.01, 2)[None], SIZES).seeds == 1


def test_seeds_that_differ_widen_the_interval():
    first = np.stack([BASE, BASE, BASE])
    steady = np.stack([shifted(0.02, 0.01, n) for n in (1, 2, 3)])
    unsteady = np.stack([shifted(by, 0.01, n) for n, by in ((1, 0.0), (2, 0.02), (3, 0.04))])
    calm, wild = difference(first, steady, SIZES), difference(first, unsteady, SIZES)
    assert calm.is_clear and not wild.is_clear and calm.value == pytest.approx(wild.value, abs=2e-3)
    assert calm.p == 0.25, "three seeds can be swapped in eight ways, and two are as extreme"


@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_cover_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch, seeds: int):
    """200 pairs of models, whose seeds and documents differ; 0.90 is three standard errors below 0.95."""
    monkeypatch.setattr(paired, "RESAMPLES", 300)
    random = np.random.default_rng(0)
    sizes, covered = SIZES[:60], 0
    for _ in range(200):
        spread = 0.003 if seeds > 1 else 0.0
        models = []
        for shift in (0.0, 0.01):
            truth = 0.6 + shift * np.log(2) + random.normal(0, 0.01, len(sizes))
            noise = random.normal(0, spread, (seeds, 1)) + random.normal(0, 0.01, (seeds, len(sizes)))
            models.append(sizes * (truth + noise))
        found = difference(models[0], models[1], sizes)
        covered += found.low <= 0.01 <= found.high
    assert covered >= 180


def test_scores_of_other_documents_are_refused():
    with pytest.raises(CompareError, match="cannot be paired"):
        difference(BASE, BASE[:-1], SIZES)
    with pytest.raises(CompareError, match="cannot be paired"):
        over_documents(BASE, BASE, SIZES[:-1])


@given(st.lists(st.tuples(st.integers(1, 2000), st.floats(0, 3000)), min_size=1, max_size=30))
def test_bits_per_byte_is_a_weighted_mean(documents: list[tuple[int, float]]):
    sizes, nats = (np.array(column, float) for column in zip(*documents, strict=True))
    each = nats / sizes / np.log(2)
    assert bits_per_byte(nats, sizes) == pytest.approx(np.average(each, weights=sizes))


def test_one_document_has_no_spread():
    found = difference(np.array([10.0]), np.array([12.0]), np.array([5.0]))
    assert found.low == found.value == found.high and found.p == 1.0
