"""Is one model better than another? Differences over the same documents, with 95 % intervals.

Stories differ far more from each other than models do, so models are compared document by document. What the
interval covers depends on what was repeated:

- one training each: the documents are a sample, the two models are given. The interval is the bootstrap's
  (Efron 1979) over documents, the p-value that of a permutation test that swaps the models' documents.
- the same seeds on both sides: another training would give another model, so the seeds are a sample, too.
  Student's interval over seeds and the bootstrap's over documents are joined by the squares of their
  half-widths (Zou and Donner 2008). The p-value is that of swapping the sides of whole seeds, in all ways.
  Resampling the few seeds there are would give an interval that is far too narrow.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurelius.errors import CompareError

CONFIDENCE = 0.95
RESAMPLES = 9999
BATCH = 256  # resamples held in memory at once
SEED = 0  # of the resampling: the same scores give the same interval


@dataclass(frozen=True)
class Difference:
    """A difference in bits per byte, the second model's minus the first's: below 0 the second is better."""

    value: float
    low: float
    high: float
    p: float
    documents: int  # 0: they are taken as given
    seeds: int  # 1: the interval covers other documents, but no other training

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return not self.low <= 0 <= self.high

    @property
    def shown(self) -> str:
        """The difference with its interval: −0.0123 [−0.0150, −0.0096]."""
        return self.shown_as(".4f")

    def shown_as(self, form: str) -> str:
        """Return the same with numbers of another form."""
        value, low, high = (f"{n:+{form}}".replace("-", "−") for n in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"

    @property
    def shown_p(self) -> str:
        """The p-value: 0.25, or < 0.001."""
        return "< 0.001" if self.p < 0.001 else f"{self.p:.3f}"

    def as_json(self) -> dict[str, Any]:
        """Return the values, rounded to their significant digits."""
        return {k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(self).items()}


def bits_per_byte(nats: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the bits per byte of nats [..., N] of documents of ``sizes`` [N] bytes."""
    return nats.sum(-1) / (sizes.sum() * math.log(2))


def difference(
    first: NDArray[np.float64], second: NDArray[np.float64], sizes: NDArray[np.float64]
) -> Difference:
    """Compare two models by their nats on the same documents.

    Args:
        first: nats [S, N] of S seeds on N documents; without seeds [N].
        second: as ``first``, row by row with the same seeds.
        sizes: the documents' bytes [N].

    Raises:
        CompareError: the shapes differ.
    """
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    if len(first) == len(second) == 1:
        return over_documents(first[0], second[0], sizes)
    return over_seeds(first, second, sizes)


def over_documents(
    first: NDArray[np.float64], second: NDArray[np.float64], sizes: NDArray[np.float64]
) -> Difference:
    """Compare one model with one other, by nats [N] on the same documents.

    Raises:
        CompareError: the shapes differ.
    """
    from scipy.stats import permutation_test

    _check(first, second, sizes)
    value = float(bits_per_byte(second - first, sizes))
    if len(sizes) < 2 or not (second - first).any():  # no spread to judge by, or nothing to judge
        return Difference(value, value, value, 1.0, len(sizes), 1)
    interval = _bootstrap(second - first, sizes)
    test = permutation_test(
        (second, first),
        lambda b, a, axis: (b - a).sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=BATCH,
        rng=np.random.default_rng(SEED),
    )
    return Difference(value, *interval, float(test.pvalue), len(sizes), 1)


def over_seeds(
    first: NDArray[np.float64], second: NDArray[np.float64], sizes: NDArray[np.float64]
) -> Difference:
    """Compare two ways to train, by nats [S, N] of the same S seeds on the same N documents.

    Raises:
        CompareError: there is a single seed, which says nothing about another, or the shapes differ.
    """
    _check(first, second, sizes)
    found = between_seeds(bits_per_byte(first, sizes), bits_per_byte(second, sizes))
    value, of_seeds = found.value, found.high - found.value
    low, high = _bootstrap((second - first).mean(0), sizes)
    low, high = value - math.hypot(value - low, of_seeds), value + math.hypot(high - value, of_seeds)
    return replace(found, low=low, high=high, documents=len(sizes))


def between_seeds(first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
    """Compare any figure [S] of two ways to train with the same S seeds; the documents are taken as given.

    Raises:
        CompareError: there is a single seed, which says nothing about another.
    """
    from scipy.stats import permutation_test, t

    seeds = np.size(first)
    if np.ndim(first) < 1 or seeds < 2:
        raise CompareError("an interval over seeds needs at least 2 seeds of each; there is 1")
    value = float((second - first).mean())
    half = float(t.ppf((1 + CONFIDENCE) / 2, seeds - 1) * (second - first).std(ddof=1)) / math.sqrt(seeds)
    test = permutation_test(
        (second, first),
        lambda b, a, axis: (b - a).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(SEED),
    )
    return Difference(value, value - half, value + half, float(test.pvalue), 0, seeds)


def _check(first: NDArray[np.float64], second: NDArray[np.float64], sizes: NDArray[np.float64]) -> None:
    if first.shape != second.shape or first.shape[-1:] != sizes.shape or not sizes.sum():
        raise CompareError(
            f"scores of shapes {first.shape} and {second.shape} on {len(sizes)} documents cannot be paired: "
            "both need the same seeds on the same documents"
        )


def _bootstrap(nats: NDArray[np.float64], sizes: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval, over documents, of the bits per byte of ``nats`` [N]."""
    from scipy.stats import bootstrap

    if len(sizes) < 2 or not nats.any():
        same = float(bits_per_byte(nats, sizes))
        return same, same
    found = bootstrap(
        (nats, sizes),
        lambda n, s, axis: n.sum(axis=axis) / (s.sum(axis=axis) * math.log(2)),
        paired=True,
        vectorized=True,
        method="percentile",
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        batch=BATCH,
        rng=np.random.default_rng(SEED),
    )
    low, high = found.confidence_interval
    return float(low), float(high)
