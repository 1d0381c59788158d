"""Do the runtimes agree? The same questions to each of them, and to the model as it was trained.

Ids must be equal on texts that are hard on purpose; logits and bits per byte as near as the file's precision
allows; greedy stories equal, or first differing where the two likeliest tokens are as good as tied.
"""

import math
import random
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aurelius.data.stories import StoryFile
from aurelius.errors import (
    AureliusError,
    ModelError,
    RunError,
    first_line,
)
from aurelius.inference.models import RunModel
from aurelius.parity.runtimes import (
    Answers,
    Runtime,
    Task,
    found,
)
from aurelius.progress import SILENT, Progress
from aurelius.special_tokens import SPECIAL_TOKENS

ODD = (
    "",
    " ",
    "\n",
    "   two   spaces,  three   ",
    "\n\nlines\n\n\n at both ends \n",
    "tabs\tand\r\nreturns\r",
    "Mr. O'Neil's dog—\u201cWoof!\u201d—ran… 3.14% of 1,000 £",
    "😀",
    "a👩‍👩‍👧‍👦b 🏳️‍🌈 👍🏽",
    "日本語のテキスト、中文。한국어",
    "שלום עולם مرحبا بالعالم",
    "e\u0301 n\u0303 Z\u0335\u0322 क्षि",
    "zero\u200bwidth \ufeffmark \u00adsoft",
    "bell\x07 escape\x1b unit\x1f next\x85line",
    "no\u00a0break \u2003em \u3000wide ",
    "a </s> b <s> c <sink> d <unk> <0x41>",
    "<s>",
    "x" * 2000,
    "supercalifragilisticexpialidocious " * 30,
    "!?" * 300,
    "under_score ▁ block",
)
# Where a runtime cannot cut as the others do, and no file can make it.
KNOWN = {
    "transformers.js": lambda text: any(token in text for token in SPECIAL_TOKENS),  # it always parses them
    "llama.cpp": lambda text: "▁" in text,  # how it writes a space
}
STORIES = 24  # whose likelihood is compared
COUNT = 200  # tokens of the greedy stories, at least: the model may end the first of them soon
OPENING = 16  # tokens of a held-out story that a greedy one goes on from


@dataclass(frozen=True)
class Limit:
    """How far a kind of file may be off: in logits, and in bits per byte (a share of the model's own).

    Greedy stories may part where the two likeliest logits are no further apart than that.
    """

    logits: float = math.inf
    bits_per_byte: float = math.inf


LIMITS = {
    "fp32": Limit(logits=1e-3),
    "fp16": Limit(bits_per_byte=1e-3),
    "int8": Limit(bits_per_byte=1e-2),
    "F32": Limit(logits=1e-3),
    "F16": Limit(bits_per_byte=1e-3),
    "Q8_0": Limit(bits_per_byte=1e-2),
    "q4": Limit(),  # what four bits cost is told, not judged
    "Q4_0": Limit(),
}


@dataclass(frozen=True)
class Row:
    """How one runtime did with one file. ``ids`` are (equal, asked), None where it has no tokenizer."""

    runtime: str
    version: str
    kind: str
    path: Path
    bytes: int
    ids: tuple[int, int] | None
    logits: float  # the largest difference
    bits_per_byte: float
    cost: float  # bits per byte more than the model's own, as a share
    greedy: str
    tokens_per_second: float | None
    problems: tuple[str, ...]


def check(run: Path, progress: Progress = SILENT) -> tuple[list[Row], list[str]]:
    """Ask every runtime that is installed; return their rows, and why others were left out.

    Raises:
        RunError: the run has no export yet.
        ModelError: a runtime could not load its file, or broke off.
    """
    if not (run / "export/huggingface/manifest.json").exists():
        raise RunError(f"{run} has no finished export; write it first: aurelius export {run}")
    model = RunModel.open(run, "cpu")
    stories = [shortened(model, text) for text in StoryFile(run / "corpus", "valid", limit=STORIES)]
    asked = task(model, [*ODD, *prompts(stories, 100)], stories)
    own = answers(model, asked)
    runtimes = list(found(run))
    rows: list[Row] = []
    with progress.task("runtimes", len(runtimes), "files") as bar:
        for runtime in runtimes:
            if isinstance(runtime, Runtime):
                try:
                    given = runtime.answer(asked)
                except AureliusError:
                    raise
                except Exception as error:  # each runtime has its own kinds
                    raise ModelError(
                        f"{runtime.name} fails with {runtime.path}: {first_line(error)}"
                    ) from error
                rows.append(compare(runtime, given, model, own, asked, stories))
            bar.advance()
    return rows, list(dict.fromkeys(text for text in runtimes if isinstance(text, str)))


def disagreements(rows: list[Row]) -> list[str]:
    """Return what is further off than it may be, a line each."""
    return [f"{row.runtime} {row.kind}: {text}" for row in rows for text in row.problems]


def shortened(model: RunModel, story: str) -> str:
    """Return as much of a story as the model reads in one piece."""
    while len(model.prefix) + len(model.encode(story)) > model.context:
        story = story[: len(story) * 3 // 4]
    return story


def prompts(stories: list[str], count: int, seed: int = 0) -> list[str]:
    """Return beginnings of stories, cut at any character."""
    dice = random.Random(seed)
    chosen = [stories[n % len(stories)] for n in range(count)]
    return [story[: dice.randrange(1, len(story) + 1)] for story in chosen]


def task(model: RunModel, texts: list[str], stories: list[str]) -> Task:
    """Return the questions, the texts also as the tokenizer's normalizer leaves them."""
    normalizer = model.tokenizer.normalizer
    normalised = [normalizer.normalize_str(text) if normalizer else text for text in texts]
    sequences = [model.prefix + model.encode(story) for story in stories]
    given = len(model.prefix) + min(OPENING, model.context // 4)
    count = min(COUNT, model.context - given)
    asked = _openings(model, [model.prefix, *(ids[:given] for ids in sequences)], count)
    return Task(texts, normalised, sequences, asked, model.end, count, model.context, model.vocab_size)


def _openings(model: RunModel, beginnings: list[list[int]], count: int) -> list[list[int]]:
    """Return as many of the beginnings as the model needs to write `COUNT` tokens, ``count`` for each."""
    needed: list[list[int]] = []
    written = 0
    for ids in beginnings:
        if written < COUNT and ids not in needed:
            needed.append(ids)
            written += len(_greedy(model, ids, count))
    return needed


@torch.no_grad()
def answers(model: RunModel, asked: Task) -> Answers:
    """Return what the model itself says."""
    logits = [model.logits(torch.tensor([ids]))[0].numpy() for ids in asked.sequences]
    greedy = [_greedy(model, opening, asked.count) for opening in asked.openings]
    model.tokenizer.encode_special_tokens = True
    ids = [model.tokenizer.encode(text).ids for text in asked.texts]  # with what the file says to add
    return Answers("", logits, ids, greedy)


def _greedy(model: RunModel, opening: list[int], count: int) -> list[int]:
    """Return the likeliest tokens after an opening, to the story's end or ``count`` of them."""
    cache, feed, greedy = model.new_cache(), opening, []
    while len(greedy) < count and (not greedy or greedy[-1] != model.end):
        greedy.append(int(model.following(feed, cache).argmax()))
        feed = greedy[-1:]
    return greedy


def compare(
    runtime: Runtime, given: Answers, model: RunModel, own: Answers, asked: Task, stories: list[str]
) -> Row:
    """Hold a runtime's answers against the model's own."""
    problems, ids = [], None
    if given.ids is not None and own.ids is not None:
        skip = 0 if runtime.adds else len(model.prefix)
        known = KNOWN.get(runtime.name, lambda text: False)
        judged = [n for n, text in enumerate(asked.texts) if not known(text)]
        wrong = [n for n in judged if given.ids[n] != own.ids[n][skip:]]
        ids = (len(judged) - len(wrong), len(judged))
        if wrong:
            problems.append(f"other ids for {asked.texts[wrong[0]][:40]!r}")
    pairs = list(zip(given.logits, own.logits, strict=True))
    apart = max(float(np.abs(a - b).max()) for a, b in pairs)
    size = sum(len(story.encode()) for story in stories)
    first = len(model.prefix)
    bits, plain = (bits_per_byte(logits, asked, first, size) for logits in (given.logits, own.logits))
    cost, limit = bits / plain - 1, LIMITS[runtime.kind]
    if not apart <= limit.logits:
        problems.append(f"logits {apart:.1e} apart, {limit.logits:g} allowed")
    if not cost <= limit.bits_per_byte:
        problems.append(f"bits per byte {cost:+.2%}, {limit.bits_per_byte:.1%} allowed")
    told, rate = "", None
    if given.greedy is not None and own.greedy is not None:
        told, good = follows(given.greedy, own.greedy, model, asked.openings, limit.logits)
        rate = sum(map(len, given.greedy)) / given.seconds
        if not good:
            problems.append(f"greedy stories {told}")
    return Row(
        runtime.name, given.version, runtime.kind, runtime.path, runtime.path.stat().st_size,
        ids, apart, bits, cost, told, rate, tuple(problems),
    )  # fmt: skip


def bits_per_byte(logits: list[NDArray[np.float32]], asked: Task, first: int, size: int) -> float:
    """Return the bits per byte of texts of ``size`` bytes (without the end of story) from their logits.

    A text's own tokens begin at position ``first`` of its sequence.
    """
    nats = 0.0
    for rows, ids in zip(logits, asked.sequences, strict=True):
        scores = torch.from_numpy(np.array(rows[first - 1 : -1], dtype=np.float64))
        nats += float(torch.nn.functional.cross_entropy(scores, torch.tensor(ids[first:]), reduction="sum"))
    return nats / math.log(2) / size


def follows(
    given: list[list[int]], own: list[list[int]], model: RunModel, openings: list[list[int]], tied: float
) -> tuple[str, bool]:
    """Say how far greedy stories are the model's own, and whether they part only where logits are ``tied``.

    Told is the first difference that is none, else the first, by the tokens of all stories before it.
    """
    told, before, total = [], 0, sum(map(len, own))
    for one, ours, opening in zip(given, own, openings, strict=True):
        same, gap = _parting(one, ours, model, opening)
        if gap is not None:
            text = f"parts at {before + same} of {total}, {gap:.0e} between the likeliest"
            told.append((gap <= tied, text))
        before += len(ours)
    good, text = min(told, key=lambda found: found[0], default=(True, f"same {total}"))
    return text, good


def _parting(
    given: list[int], own: list[int], model: RunModel, opening: list[int]
) -> tuple[int, float | None]:
    """Return how many tokens are the same, and the gap between the two likeliest next, if one differs."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(given, own, strict=False)))
    # An end token may be left out of what a runtime returns.
    if same == len(own) or (same == len(given) == len(own) - 1 and own[-1] == model.end):
        return same, None
    best = model.following(opening + own[:same], model.new_cache()).topk(2).values
    return same, float(best[0] - best[1])
