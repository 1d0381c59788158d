"""What a model's stories are like as a set: copied or new, varied or alike, ended or cut.

The same figures of held-out stories, as many, say how much of that is due to stories being alike anyway.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

from aurelius.config.settings import GenerationSettings as Sampling
from aurelius.corpus.storyteller.names import CAPITALISED, all_names, not_introduced
from aurelius.evaluation.copies import copied, words_of
from aurelius.evaluation.intervals import Share
from aurelius.evaluation.variety import distinct, loops, repetition, self_bleu
from aurelius.inference.batch import Written
from aurelius.inference.language_model import LanguageModel
from aurelius.inference.stories import stories
from aurelius.progress import SILENT, Progress

LEAST_STORIES = 8  # from which one can tell whether they introduce everybody
SHORT = 128  # tokens in which the reference card promises complete stories
OPENING = "Once upon a time"  # for models that cannot begin by themselves
USUAL = Sampling(temperature=0.8, min_p=0.1)  # for models whose default is to take the likeliest token


@dataclass(frozen=True)
class Figures:
    """Of a set of texts; all counts are of words, without punctuation and capitals.

    Attributes:
        texts: how many.
        longest_copy, median_copy: the longest span that occurs verbatim in a training story, and the median
            over texts of the longest one of each.
        seen_5, seen_10: the share of 5- and 10-grams that occur in the training stories.
        distinct_2, distinct_3: different 2- and 3-grams / all of them, of equally long texts.
        self_bleu: of each text against all others, of equally long texts.
        repetition: the share of 4-grams that the same text had before.
        looping: the share of texts that say the same six words three times.
        strangers: the share of texts in which somebody turns up whom nobody introduced; None unless the
            stories are like the storyteller's, which introduces everybody.
    """

    texts: int
    longest_copy: int
    median_copy: float
    seen_5: float
    seen_10: float
    distinct_2: float
    distinct_3: float
    self_bleu: float
    repetition: float
    looping: float
    strangers: float | None = None


@dataclass(frozen=True)
class Novelty:
    """A model's stories, and as many held-out ones for comparison.

    ``ended_short`` and ``ended`` count those that the model ended: within 128 tokens, within the context.
    """

    sampling: Sampling
    prompt: str
    written: Figures
    held_out: Figures
    ended_short: Share
    ended: Share
    stories: list[Written]

    def as_json(self) -> dict[str, Any]:
        """Return the figures."""

        def rounded(figures: Figures) -> dict[str, Any]:
            return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(figures).items()}

        sampling = self.sampling.model_dump(exclude={"max_new_tokens"})
        return {
            "sampling": sampling | {"prompt": self.prompt, "seeds": f"0 to {len(self.stories) - 1}"},
            "stories": rounded(self.written),
            "held_out": rounded(self.held_out),
            f"ended_within_{SHORT}_tokens": self.ended_short.as_json(),
            "ended_within_context": self.ended.as_json(),
        }


def measure_novelty(
    model: LanguageModel,
    documents: Sequence[str],
    trained_on: Iterable[str],
    *,
    count: int = 64,
    sampling: Sampling | None = None,
    progress: Progress = SILENT,
) -> Novelty:
    """Let a model tell ``count`` stories, and compare them with what it was trained on.

    Args:
        model: samples as it does by default, from its own beginning. A model without one continues "Once
            upon a time"; one that takes the likeliest token by default samples at temperature 0.8, min-p 0.1.
        documents: held-out stories; the first ones are compared with.
        trained_on: the training stories; read once.
        count: stories, at most as many as there are held-out ones.
        sampling: instead of the model's default.
        progress: reports the stories written, and those read.
    """
    count = min(count, len(documents))  # the same number of each: variety depends on it
    sampling = sampling or (model.sampling if model.sampling.temperature else USUAL)
    sampling = sampling.model_copy(update={"max_new_tokens": 0})
    prompt = "" if model.prefix else OPENING
    told: list[Written] = []
    with progress.task("telling stories", count, "stories") as task:
        for story in stories(model, count, prompt, sampling=sampling):
            told.append(story)
            task.advance()
    told.sort(key=lambda story: story.number)
    texts, real = [story.text[len(prompt) :] for story in told], list(documents[:count])
    total = len(trained_on) if isinstance(trained_on, Sequence) else None
    with progress.task("looking for copies", total, "training stories") as task:

        def corpus() -> Iterable[str]:
            for text in trained_on:
                task.advance()
                yield text

        lengths = copied([*texts, *real], corpus())
    introduces = len(real) >= LEAST_STORIES and mentions_anybody(real) and not strangers(real)
    compared = int(min(median(len(words_of(text)) for text in side) for side in (texts, real)))
    ended = [story.ended for story in told]
    short = [story.ended and story.tokens <= SHORT for story in told]
    return Novelty(
        sampling,
        prompt,
        figures(texts, lengths[:count], compared, strangers(texts) if introduces else None),
        figures(real, lengths[count:], compared, 0.0 if introduces else None),
        Share(sum(short), count),
        Share(sum(ended), count),
        told,
    )


def strangers(texts: Sequence[str]) -> float:
    """Return the share of texts with a name of the storyteller's that nobody introduced."""
    return sum(bool(not_introduced(text)) for text in texts) / max(1, len(texts))


def mentions_anybody(texts: Sequence[str]) -> bool:
    """Whether every text mentions somebody by a name of the storyteller's."""
    return all(all_names() & set(CAPITALISED.findall(text)) for text in texts)


def figures(
    texts: Sequence[str], lengths: Sequence[Any], compared: int, strangers: float | None = None
) -> Figures:
    """Return the figures of texts.

    Args:
        texts: the stories.
        lengths: for each word of each, how many words that end with it are copied.
        compared: words of a text, from its beginning, that variety is measured on: it depends on the length.
        strangers: see `Figures`.
    """
    words = [words_of(text) for text in texts]
    longest = [int(each.max(initial=0)) for each in lengths]

    def seen(n: int) -> float:
        ends = [each[n - 1 :] >= n for each in lengths]
        total = sum(len(each) for each in ends)
        return sum(int(each.sum()) for each in ends) / total if total else 0.0

    return Figures(
        texts=len(texts),
        longest_copy=max(longest, default=0),
        median_copy=float(median(longest)) if longest else 0.0,
        seen_5=seen(5),
        seen_10=seen(10),
        distinct_2=distinct([each[:compared] for each in words], 2),
        distinct_3=distinct([each[:compared] for each in words], 3),
        self_bleu=self_bleu([each[:compared] for each in words]),
        repetition=mean(map(repetition, words)) if words else 0.0,
        looping=sum(map(loops, words)) / max(1, len(words)),
        strangers=strangers,
    )
