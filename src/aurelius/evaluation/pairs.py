"""Minimal pairs: two sentences that differ in what makes one of them wrong. Which one is likelier?

Made for Zorro (Huebner et al. 2021, CoNLL): a text file per paradigm, a wrong sentence on each odd line and
the right one below it, in lower case, with a space before the final mark. A sentence's score is the sum of
its log-probabilities after the model's prefix, its end token left out; equal scores are wrong answers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from aurelius.errors import CorpusError
from aurelius.evaluation.intervals import Share
from aurelius.evaluation.likelihood import score
from aurelius.inference.language_model import LanguageModel
from aurelius.progress import SILENT, Progress

Style = Literal["sentence", "as-is"]
STYLES: tuple[Style, ...] = ("sentence", "as-is")
MARK = re.compile(r"\s+(?=[.?!,;]+(\s|$))")


@dataclass(frozen=True)
class Paradigm:
    """The pairs of one file: (wrong, right)."""

    name: str
    pairs: list[tuple[str, str]]


@dataclass(frozen=True)
class PairScores:
    """The answers of one model, by paradigm."""

    style: Style
    answers: dict[str, Share]

    @property
    def mean(self) -> float:
        """The mean over paradigms: each counts the same, as in the literature."""
        return float(np.mean([share.value for share in self.answers.values()]))

    def as_json(self) -> dict[str, Any]:
        """Return the shares; the standard error is over paradigms, which differ more than their pairs."""
        values = [share.value for share in self.answers.values()]
        spread = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
        return {
            "presented": self.style,
            "mean": round(self.mean, 4),
            "standard_error": round(float(spread), 4),
            "paradigms": {name: share.as_json() for name, share in self.answers.items()},
        }


def read_paradigms(folder: Path, limit: int | None = None) -> list[Paradigm]:
    """Read the ``.txt`` files of a folder, at most ``limit`` pairs of each.

    Raises:
        CorpusError: there are none, or one of them does not consist of pairs.
    """
    files = sorted(path for path in folder.glob("*.txt") if path.is_file()) if folder.is_dir() else []
    if not files:
        raise CorpusError(
            f"{folder} holds no minimal pairs: no .txt file of alternating wrong and right lines"
        )
    found = []
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise CorpusError(f"{file} is not UTF-8 (byte {error.start})") from None
        pairs = [
            (wrong.strip(), right.strip()) for wrong, right in zip(lines[::2], lines[1::2], strict=False)
        ]
        if len(lines) % 2 or not pairs:
            raise CorpusError(f"{file} has {len(lines)} lines; pairs are two lines each, the wrong one first")
        for number, pair in enumerate(pairs):
            if not all(pair) or pair[0] == pair[1]:
                problem = "are the same sentence" if all(pair) else "are not both sentences"
                raise CorpusError(f"{file}: lines {2 * number + 1} and {2 * number + 2} {problem}")
        found.append(Paradigm(file.stem, pairs[:limit]))
    return found


def presented(sentence: str, style: Style) -> str:
    """Return a sentence as the model reads it.

    Args:
        sentence: such as ``the dog runs .``
        style: ``sentence`` writes it as a story would, ``The dog runs.``; ``as-is`` leaves it.
    """
    if style == "as-is":
        return sentence
    sentence = MARK.sub("", sentence)
    return sentence[:1].upper() + sentence[1:]


def measure_pairs(
    model: LanguageModel,
    paradigms: Sequence[Paradigm],
    style: Style = "sentence",
    progress: Progress = SILENT,
) -> PairScores:
    """Ask a model for the likelier sentence of every pair."""
    texts = [presented(text, style) for each in paradigms for pair in each.pairs for text in pair]
    nats = score(model, texts, progress).text.reshape(-1, 2)  # [pairs, (wrong, right)]
    answers, first = {}, 0
    for each in paradigms:
        mine = nats[first : first + len(each.pairs)]
        answers[each.name] = Share(int((mine[:, 1] < mine[:, 0]).sum()), len(mine))
        first += len(mine)
    return PairScores(style, answers)
