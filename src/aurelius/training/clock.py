"""A training that ends on time, on a machine whose speed nobody knows beforehand.

The plan is a number of steps, but when the rate begins to decay, and at which step it ends, is decided on the
clock: the decay begins once its share of the time is left, and its end is moved when the machine turns out
faster or slower. Each decision is on disk before it is used, and a resumed training repeats it, so that it
ends with the same weights. Time while a training is stopped does not count.
"""

from collections import deque
from pathlib import Path
from typing import Any

from aurelius.errors import RunError
from aurelius.files import read_json, write_json
from aurelius.training.schedule import Decay, Schedule

TOLERANCE = 0.03  # share of the time by which the end may be missed before it is moved
SHORTEST_DECAY = 0.02  # share of the time, for recipes without a decay: the end has to be decided sometime
PACE_OVER = 0.1  # share of the time over which the pace is measured


class Clock:
    """Decides when ``schedule`` decays and ends, given ``seconds`` of training."""

    def __init__(self, seconds: float, schedule: Schedule, file: Path | None = None):
        """Decide from now on; decisions are written to ``file``."""
        self.seconds, self.schedule, self.file = seconds, schedule, file
        self._marks: deque[tuple[int, float]] = deque()

    @classmethod
    def reopen(cls, file: Path, schedule: Schedule) -> "Clock":
        """Take over the time and the decisions of a training.

        Raises:
            RunError: the file is damaged.
        """
        content: Any = read_json(file)
        try:
            schedule.decays = [Decay(decision["step"], decision["end"]) for decision in content["decisions"]]
            schedule.begin = int(content.get("begin", 0))  # older files have neither
            schedule.peak = float(content.get("peak", 1.0))
            return cls(float(content["seconds"]), schedule, file)
        except (KeyError, TypeError, ValueError):
            raise RunError(f"{file} is damaged; move the folder {file.parent} away to train again") from None

    def save(self) -> None:
        """Write what was decided so far."""
        if self.file:
            decisions = [{"step": decay.start, "end": decay.end} for decay in self.schedule.decays]
            begun = {"begin": self.schedule.begin, "peak": self.schedule.peak}
            write_json(self.file, {"seconds": round(self.seconds, 3), **begun, "decisions": decisions})

    def decide(self, done: int, elapsed: float) -> Decay | None:
        """Return a new decision after ``done`` steps and ``elapsed`` seconds of training, already on disk."""
        decays, left = self.schedule.decays, self.seconds - elapsed
        pace = self._pace(done, elapsed)
        if pace is None or (decays and done < decays[-1].start):  # repeating what was decided before
            return None
        end = done + max(1, round(left / pace))
        if decays:
            planned = (decays[-1].end - done) * pace
            if abs(planned - left) <= TOLERANCE * self.seconds or end == decays[-1].end:
                return None
        elif left > max(self.schedule.settings.decay, SHORTEST_DECAY) * self.seconds:
            return None
        decision = Decay(done, end)
        self.take(decision)
        return decision

    def take(self, decision: Decay) -> None:
        """Follow a decision from the next step on."""
        self.schedule.decays.append(decision)
        self.save()

    def _pace(self, done: int, elapsed: float) -> float | None:
        """Return the seconds per step lately, or None if there is nothing to compare with."""
        self._marks.append((done, elapsed))
        while len(self._marks) > 2 and self._marks[1][1] <= elapsed - PACE_OVER * self.seconds:
            self._marks.popleft()
        steps, seconds = (now - then for now, then in zip((done, elapsed), self._marks[0], strict=True))
        return seconds / steps if steps and seconds > 0 else None
