"""The learning rate over the course of training: warm-up, constant, linear decay.

Source: Hu et al. 2024 (MiniCPM), arXiv 2404.06395.
"""

import math
from dataclasses import dataclass

from aurelius.config.settings import TrainingSettings


@dataclass(frozen=True)
class Decay:
    """From ``start`` on the rate falls linearly, to reach its final share at ``end`` (steps)."""

    start: float
    end: int


class Schedule:
    """The learning rate of each step, as a share of the peak.

    ``decays`` holds the planned decay. Under a budget of time it is empty until the clock decides when to
    begin; a later decay goes on from the rate that the one before it has reached. A training that was
    finished and is continued warms up again at ``begin``, the step where it had ended, to ``peak``: below 1
    if in a training of the total time the rate would have been falling there.
    """

    def __init__(self, settings: TrainingSettings, timed: bool = False):
        self.settings = settings
        self.begin, self.peak = 0, 1.0
        planned = Decay(settings.steps * (1 - settings.decay), settings.steps)
        self.decays: list[Decay] = [] if timed else [planned]

    @property
    def end(self) -> int | None:
        """How many steps training takes; None while that is open."""
        return self.decays[-1].end if self.decays else None

    @property
    def decay_step(self) -> int | None:
        """After how many steps the rate begins to fall; None while that is open, or if it never does."""
        if not self.decays or self.decays[0].start >= self.decays[0].end:
            return None
        return math.ceil(self.decays[0].start)

    def share(self, step: int) -> float:
        """Return the rate of ``step`` (from 0) as a share of the peak."""
        rate, final = self.peak, self.settings.final_rate
        for number, decay in enumerate(self.decays):
            if step <= decay.start:
                break
            following = self.decays[number + 1 : number + 2]
            at = min(step, *(later.start for later in following)) if following else step
            rate = final + (rate - final) * (decay.end - at) / (decay.end - decay.start)
        warmup = self.settings.warmup * self.settings.steps
        since = step - self.begin
        return min(rate, self.peak * (since + 1) / (warmup + 1)) if since < warmup else rate
