"""Does a model know how a story goes on? Its true next sentence among sentences of other stories.

The others come from stories that share a name with this one, and mention nobody that this story has not
mentioned, so that names do not give the answer away. The model's answer is the sentence with the fewest nats
per byte after the story so far; chance is 1 in 5, and a unigram model of words shows how much is due to
frequent words alone.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aurelius.errors import CorpusError
from aurelius.evaluation.intervals import Share
from aurelius.evaluation.likelihood import score
from aurelius.inference.language_model import LanguageModel
from aurelius.progress import SILENT, Progress

CHOICES = 5
LEAST_BEFORE = 3  # sentences of the story so far
SHORTEST, LONGEST = 4, 30  # words of a sentence to choose
SENTENCE = re.compile(r"\S.*?(?:[.!?…]+[\"'”’)]*(?=\s|$)|$)", re.DOTALL)
NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+\b")  # capitalised, though no sentence begins there
CAPITALISED = re.compile(r"\b[A-Z][a-z]+\b")
WORD = re.compile(r"\w+(?:['’]\w+)*")


@dataclass(frozen=True)
class Question:
    """A story so far, and the sentences to choose from; the first is the true one."""

    story: str
    choices: list[str]


@dataclass(frozen=True)
class Coherence:
    """Right answers of a model, and of word frequencies alone, to the same questions."""

    model: Share
    unigram: Share
    seed: int

    def as_json(self) -> dict[str, Any]:
        """Return the shares, and that of guessing."""
        return {
            "right": self.model.as_json(),
            "unigram": self.unigram.as_json(),
            "chance": 1 / CHOICES,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class _Sentence:
    story: int
    text: str
    names: frozenset[str]


def questions(documents: Sequence[str], count: int, seed: int = 0) -> list[Question]:
    """Make at most ``count`` questions, no two of them about the same story.

    Raises:
        CorpusError: no question can be made: too few stories share a name.
    """
    spans = [list(SENTENCE.finditer(text)) for text in documents]
    known = [frozenset(NAME.findall(text)) for text in documents]
    by_name: dict[str, list[_Sentence]] = defaultdict(list)
    for number, sentences in enumerate(spans):
        for span in sentences[LEAST_BEFORE:]:
            text = span.group()
            if SHORTEST <= len(text.split()) <= LONGEST:
                names = frozenset(CAPITALISED.findall(text)) & known[number]
                for name in known[number]:
                    by_name[name].append(_Sentence(number, text, names))
    random = np.random.default_rng(seed)
    made = []
    for number in map(int, random.permutation(len(documents))):
        if question := _ask(documents[number], number, spans[number], known[number], by_name, random):
            made.append(question)
        if len(made) == count:
            break
    if not made:
        raise CorpusError(
            f"no question about the next sentence can be made of {len(documents):,} documents: too few of "
            "them share a name"
        )
    return made


def _ask(
    document: str,
    number: int,
    spans: list[re.Match[str]],
    known: frozenset[str],
    by_name: dict[str, list[_Sentence]],
    random: np.random.Generator,
) -> Question | None:
    """Ask for a sentence of one document; None if it, or what shares its names, does not allow it."""
    places = [
        place
        for place in range(LEAST_BEFORE, len(spans))
        if SHORTEST <= len(spans[place].group().split()) <= LONGEST
    ]
    if not places:
        return None
    span = spans[random.choice(places)]
    so_far, true = document[: span.start()], span.group()
    mentioned = frozenset(CAPITALISED.findall(so_far)) & known
    if not frozenset(CAPITALISED.findall(true)) & known <= mentioned:
        return None
    pool = [
        sentence
        for name in sorted(mentioned)
        for sentence in by_name[name]
        if sentence.story != number and sentence.names <= mentioned
    ]
    others: dict[int, str] = {}  # one of each story
    for place in random.permutation(len(pool)):
        if pool[place].text != true:
            others.setdefault(pool[place].story, pool[place].text)
        if len(others) == CHOICES - 1:
            return Question(so_far, [true, *others.values()])
    return None


def measure_coherence(
    model: LanguageModel,
    documents: Sequence[str],
    *,
    count: int = 200,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Coherence:
    """Ask a model for the next sentence of ``count`` stories.

    Raises:
        CorpusError: no question can be made.
    """
    asked = questions(documents, count, seed)
    texts = [text for each in asked for text in (each.story, *(each.story + c for c in each.choices))]
    nats = score(model, texts, progress).text.reshape(len(asked), 1 + CHOICES)
    sizes = np.array([[len(choice.encode()) for choice in each.choices] for each in asked])
    right = ((nats[:, 1:] - nats[:, :1]) / sizes).argmin(1) == 0
    frequent = Counter(word for text in documents for word in WORD.findall(text.lower()))
    total = frequent.total()

    def unigram(sentence: str) -> float:
        words = WORD.findall(sentence.lower()) or [""]
        return -sum(math.log(frequent.get(w, 0.5) / total) for w in words) / len(sentence.encode())

    guessed = [int(np.argmin([unigram(choice) for choice in each.choices])) == 0 for each in asked]
    return Coherence(Share(int(right.sum()), len(asked)), Share(sum(guessed), len(asked)), seed)
