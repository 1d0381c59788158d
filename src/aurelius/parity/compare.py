"""Comparing a runtime's answers with the model's own, within the tolerances of its file."""

import math
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aurelius.export.registry import BASE, targets
from aurelius.export.target import Tolerance
from aurelius.inference.run_model import RunModel
from aurelius.parity.runtime import Answers, Runtime, Task

WEIGHTS = Tolerance(logits=1e-3)  # of the Hugging Face folder, in float32


@dataclass(frozen=True)
class Comparison:
    """How one runtime compares on one file. ``ids`` are (equal, compared), None if it has no tokenizer."""

    runtime: str
    version: str
    kind: str
    path: Path
    bytes: int
    ids: tuple[int, int] | None
    logits: float  # the largest difference
    bits_per_byte: float
    cost: float  # bits per byte above the model's own, relative
    greedy: str
    tokens_per_second: float | None
    problems: tuple[str, ...]


def tolerance_of(runtime: Runtime) -> Tolerance:
    """Return how far a runtime's results may differ with its file."""
    if runtime.target == BASE:
        return WEIGHTS
    return next(t.tolerances[runtime.kind] for t in targets() if t.name == runtime.target)


def problems_of(comparisons: list[Comparison]) -> list[str]:
    """Return what is out of tolerance, a line each."""
    return [f"{result.runtime} {result.kind}: {text}" for result in comparisons for text in result.problems]


def compare(
    runtime: Runtime, answers: Answers, model: RunModel, expected: Answers, task: Task, stories: list[str]
) -> Comparison:
    """Compare a runtime's answers with the model's own."""
    problems, ids = [], None
    if answers.ids is not None and expected.ids is not None:
        skip = 0 if runtime.adds_prefix else len(model.prefix)
        compared = [n for n, text in enumerate(task.texts) if not runtime.known_difference(text)]
        wrong = [n for n in compared if answers.ids[n] != expected.ids[n][skip:]]
        ids = (len(compared) - len(wrong), len(compared))
        if wrong:
            problems.append(f"different ids for {task.texts[wrong[0]][:40]!r}")
    pairs = list(zip(answers.logits, expected.logits, strict=True))
    difference = max(float(np.abs(a - b).max()) for a, b in pairs)
    size = sum(len(story.encode()) for story in stories)
    first = len(model.prefix)
    bits, own_bits = (bits_per_byte(each.logits, task, first, size) for each in (answers, expected))
    cost, tolerance = bits / own_bits - 1, tolerance_of(runtime)
    if not difference <= tolerance.logits:
        problems.append(f"max logit difference {difference:.1e}, {tolerance.logits:g} allowed")
    if not cost <= tolerance.bits_per_byte:
        problems.append(f"bits per byte {cost:+.2%}, {tolerance.bits_per_byte:.1%} allowed")
    greedy, rate = "", None
    if answers.greedy is not None and expected.greedy is not None:
        greedy, good = compare_greedy(answers.greedy, expected.greedy, model, task.openings, tolerance.logits)
        rate = sum(map(len, answers.greedy)) / answers.seconds
        if not good:
            problems.append(f"greedy story {greedy}")
    return Comparison(
        runtime.name, answers.version, runtime.kind, runtime.path, runtime.path.stat().st_size,
        ids, difference, bits, cost, greedy, rate, tuple(problems),
    )  # fmt: skip


def bits_per_byte(logits: list[NDArray[np.float32]], task: Task, first: int, size: int) -> float:
    """Return the bits per byte of texts of ``size`` bytes (without the end of story) from their logits.

    A text's own tokens begin at position ``first`` of its sequence.
    """
    nats = 0.0
    for rows, ids in zip(logits, task.sequences, strict=True):
        scores = torch.from_numpy(np.array(rows[first - 1 : -1], dtype=np.float64))
        nats += float(torch.nn.functional.cross_entropy(scores, torch.tensor(ids[first:]), reduction="sum"))
    return nats / math.log(2) / size


def compare_greedy(
    stories: list[list[int]],
    expected: list[list[int]],
    model: RunModel,
    openings: list[list[int]],
    tie: float,
) -> tuple[str, bool]:
    """Say how far greedy stories equal the model's own, and whether they diverge only at a ``tie`` of logits.

    Reported is the first divergence that is not a tie, else the first, counted over all stories' tokens.
    """
    divergences, before, total = [], 0, sum(map(len, expected))
    for story, own, opening in zip(stories, expected, openings, strict=True):
        same, gap = _divergence(story, own, model, opening)
        if gap is not None:
            text = (
                f"goes on after the end of the story at token {before + same} of {total}"
                if gap == math.inf
                else f"diverges at token {before + same} of {total} (gap of the two likeliest {gap:.0e})"
            )
            divergences.append((gap <= tie, text))
        before += len(own)
    good, text = min(divergences, key=lambda each: each[0], default=(True, f"identical, {total}"))
    return text, good


def _divergence(
    story: list[int], own: list[int], model: RunModel, opening: list[int]
) -> tuple[int, float | None]:
    """Return how many tokens are the same, and the gap between the two likeliest next ones if one differs.

    The gap is infinite if the story goes on where it should end.
    """
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(story, own, strict=False)))
    if same == len(own) < len(story) and own[-1] == model.end:
        return same, math.inf
    # A runtime may leave the end token out of what it returns.
    if same == len(own) or (same == len(story) == len(own) - 1 and own[-1] == model.end):
        return same, None
    second, best = np.sort(model.next_token_logits(opening + own[:same], model.new_cache()))[-2:]
    return same, float(best - second)
