"""The instruments by name; to add one, write its module and add it here."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from aurelius.errors import CorpusError
from aurelius.progress import SILENT, Progress

if TYPE_CHECKING:  # the command line asks for the names alone
    from aurelius.evaluation.pairs import Paradigm, Style
    from aurelius.inference.language_model import InspectableModel


@dataclass(frozen=True)
class Subject:
    """A model, and what it is measured on.

    Attributes:
        model: what is measured.
        documents: held-out stories.
        trained_on: returns the training stories; None if they are not known.
        paradigms: minimal pairs.
        style: how these are presented.
        full: as many examples as make a figure for a table, instead of a quick look.
        progress: reports the work.
    """

    model: "InspectableModel"
    documents: Sequence[str]
    trained_on: Callable[[], Iterable[str]] | None = None
    paradigms: "Sequence[Paradigm]" = field(default=())
    style: "Style" = "sentence"
    full: bool = True
    progress: Progress = SILENT


def _pairs(subject: Subject) -> dict[str, Any]:
    from aurelius.evaluation.pairs import Paradigm, measure_pairs

    paradigms = subject.paradigms
    if not subject.full:
        paradigms = [Paradigm(each.name, each.pairs[:100]) for each in paradigms]
    return measure_pairs(subject.model, paradigms, subject.style, subject.progress).as_json()


def _coherence(subject: Subject) -> dict[str, Any]:
    from aurelius.evaluation.coherence import measure_coherence

    count = 400 if subject.full else 50
    found = measure_coherence(subject.model, subject.documents, count=count, progress=subject.progress)
    return {"seed": 0} | {kind: answers.as_json() for kind, answers in found.items()}


def _novelty(subject: Subject) -> dict[str, Any]:
    from aurelius.evaluation.novelty import measure_novelty

    count = 500 if subject.full else 32
    trained_on = _training_stories(subject, "novelty")
    found = measure_novelty(
        subject.model, subject.documents, trained_on, count=count, progress=subject.progress
    )
    return found.as_json()


def _bottleneck(subject: Subject) -> dict[str, Any]:
    from aurelius.evaluation.bottleneck import measure_bottleneck

    count = 64 if subject.full else 16
    return measure_bottleneck(
        subject.model, subject.documents, count=count, progress=subject.progress
    ).as_json()


def _sinks(subject: Subject) -> dict[str, Any]:
    from aurelius.evaluation.sinks import measure_sinks

    count = 128 if subject.full else 32
    return measure_sinks(subject.model, subject.documents, count=count, progress=subject.progress).as_json()


def _positions(subject: Subject) -> dict[str, Any]:
    from aurelius.evaluation.likelihood import score

    documents = subject.documents[: 500 if subject.full else 64]
    stretches = score(subject.model, documents, subject.progress).stretches
    return {str(each.first): each.as_json()["bits_per_byte"] for each in stretches}


def _gap(subject: Subject) -> dict[str, Any]:
    from aurelius.evaluation.likelihood import measure

    count = 500 if subject.full else 64
    seen, unseen = (
        measure(subject.model, texts, subject.progress).bits_per_byte_text
        for texts in (list(islice(_training_stories(subject, "gap"), count)), subject.documents[:count])
    )
    return {"trained_on": round(seen, 4), "held_out": round(unseen, 4), "gap": round(unseen - seen, 4)}


def _training_stories(subject: Subject, instrument: str) -> Iterable[str]:
    if subject.trained_on is None:
        raise CorpusError(
            f"{instrument} needs the stories that the model was trained on, which are not known: "
            "aurelius evaluate --trained-on FILE names them"
        )
    return subject.trained_on()


INSTRUMENTS: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "pairs": _pairs,
    "coherence": _coherence,
    "novelty": _novelty,
    "bottleneck": _bottleneck,
    "sinks": _sinks,
    "positions": _positions,  # bits per byte by the token that a stretch begins at
    "gap": _gap,  # between stories that the model was trained on and held-out ones
}


def examine(subject: Subject, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the figures of the named instruments.

    Raises:
        CorpusError: the documents do not allow one of them, or it lacks what it measures on.
        ModelError: the model does not show what one of them looks at.
    """
    return {name: INSTRUMENTS[name](subject) for name in names}
