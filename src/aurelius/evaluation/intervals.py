"""A proportion with its 95 % interval."""

import math
from dataclasses import dataclass
from typing import Any

Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Share:
    """``count`` of ``total``, with the 95 % interval of Wilson (1927, JASA 22)."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.count / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The lower and upper end of the 95 % interval."""
        n, p = self.total, self.value
        middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        return max(0.0, middle - half), min(1.0, middle + half)

    def as_json(self) -> dict[str, Any]:
        """Return the values."""
        low, high = self.interval
        return {"share": round(self.value, 4), "low": round(low, 4), "high": round(high, 4), "of": self.total}
