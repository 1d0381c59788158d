"""The parity check: the same task for every installed runtime, and for the model as it was trained.

Ids must be equal on deliberately hard texts, logits and bits per byte as close as the file's precision
allows, and greedy stories identical, or diverging only where the two likeliest tokens are practically tied.
"""

import random
from pathlib import Path

import torch

from aurelius.data.stories import StoryFile
from aurelius.errors import AureliusError, ModelError, RunError, first_line, suggest
from aurelius.inference.run_model import RunModel
from aurelius.parity.compare import Comparison, compare
from aurelius.parity.registry import find_runtimes
from aurelius.parity.runtime import Answers, Runtime, Task
from aurelius.progress import SILENT, Progress
from aurelius.run_paths import MANIFEST, RunPaths

HARD_TEXTS = (
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
STORIES = 24  # whose likelihood is compared
GREEDY_TOKENS = 200  # at least, over all greedy stories: the model may end the first of them soon
OPENING = 16  # tokens of a held-out story that a greedy one continues


def check(run: Path, progress: Progress = SILENT) -> tuple[list[Comparison], list[str]]:
    """Compare every installed runtime; return the results, and why other runtimes were skipped.

    Raises:
        RunError: the run has no export yet.
        ModelError: a runtime could not load its file, or failed.
    """
    paths = RunPaths(run)
    if not (paths.huggingface / MANIFEST).exists():
        raise RunError(f"{run} has no finished export; write it first: {suggest('export', run)}")
    model = RunModel(run, "cpu")
    stories = [shortened(model, text) for text in StoryFile(paths.corpus, "valid", limit=STORIES)]
    task = make_task(model, [*HARD_TEXTS, *beginnings(stories, 100)], stories)
    expected = own_answers(model, task)
    runtimes = list(find_runtimes(run))
    comparisons: list[Comparison] = []
    with progress.task("checking runtimes", len(runtimes), "files") as bar:
        for runtime in runtimes:
            if isinstance(runtime, Runtime):
                try:
                    answers = runtime.answer(task)
                except AureliusError:
                    raise
                except Exception as error:  # each runtime has its own kinds
                    raise ModelError(
                        f"{runtime.name} failed with {runtime.path}: {first_line(error)}"
                    ) from error
                comparisons.append(compare(runtime, answers, model, expected, task, stories))
            bar.advance()
    return comparisons, list(dict.fromkeys(reason for reason in runtimes if isinstance(reason, str)))


def shortened(model: RunModel, story: str) -> str:
    """Return as much of a story as fits into the model's context."""
    while len(model.prefix) + len(model.encode(story)) > model.context:
        story = story[: len(story) * 3 // 4]
    return story


def beginnings(stories: list[str], count: int, seed: int = 0) -> list[str]:
    """Return beginnings of stories, cut off at any character."""
    dice = random.Random(seed)
    chosen = [stories[n % len(stories)] for n in range(count)]
    return [story[: dice.randrange(1, len(story) + 1)] for story in chosen]


def make_task(model: RunModel, texts: list[str], stories: list[str]) -> Task:
    """Return the task for all runtimes."""
    normalizer = model.tokenizer.normalizer
    normalised = [normalizer.normalize_str(text) if normalizer else text for text in texts]
    sequences = [model.prefix + model.encode(story) for story in stories]
    length = len(model.prefix) + min(OPENING, model.context // 4)
    max_new_tokens = min(GREEDY_TOKENS, model.context - length)
    openings = _openings(model, [model.prefix, *(ids[:length] for ids in sequences)], max_new_tokens)
    return Task(
        texts, normalised, sequences, openings, model.end, max_new_tokens, model.context, model.vocab_size
    )


def _openings(model: RunModel, candidates: list[list[int]], max_new_tokens: int) -> list[list[int]]:
    """Return as many openings as the model needs to write `GREEDY_TOKENS` tokens."""
    openings: list[list[int]] = []
    written = 0
    for ids in candidates:
        if written < GREEDY_TOKENS and ids not in openings:
            openings.append(ids)
            written += len(_greedy(model, ids, max_new_tokens))
    return openings


@torch.no_grad()
def own_answers(model: RunModel, task: Task) -> Answers:
    """Return what the model itself computes."""
    logits = [model.logits(torch.tensor([ids]))[0].numpy() for ids in task.sequences]
    greedy = [_greedy(model, opening, task.max_new_tokens) for opening in task.openings]
    ids = [model.tokenizer.encode(text).ids for text in task.texts]  # with the prefix that the file adds
    return Answers("", logits, ids, greedy)


def _greedy(model: RunModel, opening: list[int], max_new_tokens: int) -> list[int]:
    """Return the likeliest tokens after an opening, up to the end of the story or ``max_new_tokens``."""
    cache, feed, greedy = model.new_cache(), opening, []
    while len(greedy) < max_new_tokens and (not greedy or greedy[-1] != model.end):
        greedy.append(int(model.next_token_logits(feed, cache).argmax()))
        feed = greedy[-1:]
    return greedy
