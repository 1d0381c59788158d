"""Does a model know how a story goes on? Questions with one right answer, made of held-out stories.

- *sentence*: the true next sentence among those of other stories. They come from stories that share a name
  with this one and mention nobody that it has not mentioned, so that names do not give the answer away. The
  model's answer is the one with the fewest nats per byte after the story so far; chance is 1 in 5.
- *name*: which character is named next. The other choices are another character of the story, if there is
  one, and names from other stories, sampled by frequency; chance is 1 in 5.
- *pronoun*: he or she (himself or herself), after the first sentences; chance is 1 in 2.

What word frequencies alone would answer stands beside each: a unigram model of the same documents.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurelius.errors import CorpusError
from aurelius.evaluation.copies import WORD
from aurelius.evaluation.intervals import Share
from aurelius.evaluation.likelihood import score
from aurelius.inference.language_model import LanguageModel
from aurelius.progress import SILENT, Progress

CHOICES = 5
LEAST_BEFORE = 3  # sentences of the story so far
LEAST_STORIES = 3  # with a name: others are rather words that happen to be capitalised
SHORTEST, LONGEST = 4, 30  # words of a sentence to choose
SENTENCE = re.compile(r"\S.*?(?:[.!?…]+[\"'”’)]*(?=\s|$)|$)", re.DOTALL)
NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+\b")  # capitalised, though no sentence begins there
CAPITALISED = re.compile(r"\b[A-Z][a-z]+\b")
PRONOUN = re.compile(r"\b(he|she|himself|herself)\b(\W*)", re.IGNORECASE)
OTHER = {"he": "she", "she": "he", "himself": "herself", "herself": "himself"}


@dataclass(frozen=True)
class Question:
    """A story so far, and how it may go on; the first choice is the true one."""

    story: str
    choices: list[str]


@dataclass(frozen=True)
class Answers:
    """Right answers of a model, of word frequencies alone, and the share that guessing would get."""

    model: Share
    unigram: Share
    chance: float

    def as_json(self) -> dict[str, Any]:
        """Return the shares."""
        return {"right": self.model.as_json(), "unigram": self.unigram.as_json(), "chance": self.chance}


@dataclass(frozen=True)
class _Sentence:
    story: int
    text: str
    names: frozenset[str]


def sentence_questions(documents: Sequence[str], count: int, seed: int = 0) -> list[Question]:
    """Ask for the next sentence of at most ``count`` stories."""
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


def name_questions(documents: Sequence[str], count: int, seed: int = 0) -> list[Question]:
    """Ask who is mentioned again in at most ``count`` stories."""
    random = np.random.default_rng(seed)
    known = [sorted(set(NAME.findall(text))) for text in documents]
    stories_with = Counter(name for names in known for name in names)
    frequent = [name for name, stories in stories_with.items() if stories >= LEAST_STORIES]
    made = []
    for number in map(int, random.permutation(len(documents))):
        document, mine = documents[number], [name for name in known[number] if name in frequent]
        strangers = [name for name in frequent if name not in document]
        again = [
            (name, found)
            for name in mine
            for found in list(re.finditer(rf"\b{name}\b(\W*)", document))[1:]
            if _sentences_before(document, found.start()) >= LEAST_BEFORE
        ]
        if again and len(strangers) >= CHOICES - 1:
            name, found = again[random.choice(len(again))]
            so_far = document[: found.start()]
            others = [other for other in mine if other != name and other in so_far][:1]
            weights = np.array([stories_with[each] for each in strangers], float)
            wanted = CHOICES - 1 - len(others)
            others += list(random.choice(strangers, wanted, replace=False, p=weights / weights.sum()))
            made.append(Question(so_far, [each + found[1] for each in (name, *others)]))
        if len(made) == count:
            break
    return made


def _sentences_before(document: str, place: int) -> int:
    """Count the sentences that end before a place."""
    return sum(found.end() <= place for found in SENTENCE.finditer(document))


def pronoun_questions(documents: Sequence[str], count: int, seed: int = 0) -> list[Question]:
    """Ask for he or she in at most ``count`` stories."""
    random = np.random.default_rng(seed)
    made = []
    for number in map(int, random.permutation(len(documents))):
        document = documents[number]
        places = [
            found
            for found in PRONOUN.finditer(document)
            if _sentences_before(document, found.start()) >= LEAST_BEFORE
        ]
        if places:
            found = places[random.choice(len(places))]
            other = OTHER[found[1].lower()]
            other = other.capitalize() if found[1][0].isupper() else other
            made.append(Question(document[: found.start()], [found.group(), other + found[2]]))
        if len(made) == count:
            break
    return made


def answer(
    model: LanguageModel,
    questions: Sequence[Question],
    frequent: Counter[str],
    per_byte: bool,
    progress: Progress = SILENT,
) -> Answers | None:
    """Let a model, and the frequencies of words, choose; None without questions.

    Args:
        model: chooses what it gives the highest probability after the story so far.
        questions: with equally many choices each.
        frequent: the words of the documents.
        per_byte: whether nats are divided by the bytes of a choice, since the choices differ in length.
        progress: reports the texts scored.
    """
    if not questions:
        return None
    choices = len(questions[0].choices)
    # The space between belongs to what follows: at the end of a text, it costs some models much.
    pairs = [(each.story.rstrip(), each) for each in questions]
    texts = [text for so_far, each in pairs for text in (so_far, *(each.story + c for c in each.choices))]
    nats = score(model, texts, progress).text.reshape(len(questions), 1 + choices)
    sizes = np.array(
        [
            [len((each.story + c).encode()) - len(so_far.encode()) for c in each.choices]
            for so_far, each in pairs
        ]
    )
    sizes = sizes if per_byte else np.ones_like(sizes)
    right = _first_is_least((nats[:, 1:] - nats[:, :1]) / sizes)
    total = frequent.total()

    def unigram(text: str) -> float:
        words = WORD.findall(text.lower()) or [""]
        nats = -sum(math.log(frequent.get(word, 0.5) / total) for word in words)
        return nats / len(text.encode()) if per_byte else nats

    guessed = _first_is_least(np.array([[unigram(choice) for choice in each.choices] for each in questions]))
    count = len(questions)
    return Answers(Share(right, count), Share(guessed, count), 1 / choices)


def _first_is_least(costs: NDArray[np.float64]) -> int:
    """Count the rows whose first value is the smallest; one that shares that place is a wrong answer."""
    return int((costs[:, 0] < costs[:, 1:].min(1)).sum())


def measure_coherence(
    model: LanguageModel,
    documents: Sequence[str],
    *,
    count: int = 200,
    seed: int = 0,
    progress: Progress = SILENT,
) -> dict[str, Answers]:
    """Ask a model ``count`` questions of each kind: sentence, name, pronoun.

    Raises:
        CorpusError: no question can be made of the documents.
    """
    frequent = Counter(word for text in documents for word in WORD.findall(text.lower()))
    asked = {
        "sentence": answer(model, sentence_questions(documents, count, seed), frequent, True, progress),
        "name": answer(model, name_questions(documents, count, seed), frequent, False, progress),
        "pronoun": answer(model, pronoun_questions(documents, count, seed), frequent, False, progress),
    }
    found = {kind: answers for kind, answers in asked.items() if answers}
    if not found:
        raise CorpusError(
            f"no question about the stories can be made of {len(documents):,} documents: they have too few "
            "sentences, or nobody in them has a name"
        )
    return found
