"""The corpus report: what the stories look like, and what was changed and dropped, as JSON and as a page."""

from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np

from aurelius.corpus.clean import words_of

BIN = 25  # words per bar of the histogram
OPENING = 4  # words
SHOWN = 25  # of the most frequent words, characters and openings
BARS = 60
CELL = 1000  # characters shown of a text


class Statistics:
    """What the kept stories look like."""

    def __init__(self):
        self.stories = self.words = self.bytes = 0
        self.lengths: Counter[int] = Counter()
        self.vocabulary: Counter[bytes] = Counter()
        self.openings: Counter[str] = Counter()
        self.characters: Counter[str] = Counter()

    def add(self, texts: Sequence[str]) -> None:
        """Count more stories."""
        joined = "".join(texts)
        codes, counts = np.unique(np.frombuffer(joined.encode("utf-32-le"), "<u4"), return_counts=True)
        self.characters.update(dict(zip(map(chr, codes), counts.tolist(), strict=True)))
        self.stories += len(texts)
        self.bytes += len(joined.encode())
        for text in texts:
            words = text.split()
            self.words += len(words)
            self.lengths[len(words) // BIN * BIN] += 1
            self.openings[" ".join(words[:OPENING])] += 1
            self.vocabulary.update(words_of(text))

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, the most frequent first."""
        return {
            "stories": self.stories,
            "words": self.words,
            "bytes": self.bytes,
            "words_per_story": {str(at): self.lengths[at] for at in sorted(self.lengths)},
            "characters": dict(sorted(self.characters.items(), key=lambda pair: (-pair[1], pair[0]))),
            "different_words": len(self.vocabulary),
            "words_once": sum(count == 1 for count in self.vocabulary.values()),
            "frequent_words": {word.decode(): count for word, count in _most_frequent(self.vocabulary)},
            "repeated_openings": dict(_most_frequent(self.openings)),
        }


def page(report: dict[str, Any]) -> str:
    """Return the report as one self-contained HTML page."""
    template = files("aurelius.corpus").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shortened"] = lambda value: str(value)[:CELL]
    charts = {
        "Words per story": report["train"]["words_per_story"],
        "Characters": {repr(name): count for name, count in report["train"]["characters"].items()},
        "Frequent words": report["train"]["frequent_words"],
        "Repeated openings": report["train"]["repeated_openings"],
    }
    charts = {title: dict(list(counts.items())[:BARS]) for title, counts in charts.items()}
    return environment.from_string(template).render(report=report, charts=charts)


def _most_frequent(counts: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN]
