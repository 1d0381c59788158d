"""What a user should know about a corpus: how it was read, what cleaning did to it, whether it is enough."""

import json

from aurelius.config.settings import CorpusSettings
from aurelius.corpus.readers.sources import Source
from aurelius.corpus.shards import Counts
from aurelius.progress import Progress

PARAGRAPH = 50  # words; pieces whose median is below are hardly whole stories
COLLECTION = 1_500  # words; pieces whose median is above are hardly single stories
MUCH = 0.2  # share of the stories that cleaning may drop without a warning
FEW_STORIES = 500
STEPS = {  # the cleaning step behind a reason
    "truncated at the beginning": "cut",
    "truncated at the end": "cut",
    "not a story": "story",
    "not English": "english",
    "mojibake beyond repair": "mojibake",
}


def report_reading(source: Source, counts: Counts, progress: Progress) -> None:
    """Say how the source was read, and warn if the pieces look like paragraphs or like several stories."""
    words = counts.median_words
    read = f"corpus: read {source.format}: {counts.read:,} stories, median {words:,} words"
    if counts.read and words < PARAGRAPH and "split at blank lines" in source.format:
        progress.warn(
            f"{read}; these look like paragraphs. If stories have blank lines in them, say what separates "
            "stories (--separator '---', line, or file)"
        )
    elif words > COLLECTION:
        progress.warn(
            f"{read}; these look like several stories each. Say what separates stories "
            "(--separator '---', blank, or line)"
        )
    else:
        progress.note(read)
    if skipped := sum(map(len, source.skipped)):
        progress.note(f"corpus: skipped {skipped:,} hidden, licence or readme files")


def warn_of_drops(counts: Counts, options: CorpusSettings, progress: Progress) -> None:
    """Warn if cleaning dropped much, with the reason and how to keep it."""
    if counts.kept < (1 - MUCH) * counts.read:
        dropped = f"corpus: cleaning dropped {counts.read - counts.kept:,} of {counts.read:,} stories"
        progress.warn(f"{dropped}. {remedy(counts, options)}")


def remedy(counts: Counts, options: CorpusSettings) -> str:
    """Name the most frequent reason why cleaning dropped stories, and what switches it off."""
    cleaning = {reason: n for reason, n in counts.dropped.items() if reason in STEPS or "words" in reason}
    if not cleaning:
        return ""
    reason, number = max(cleaning.items(), key=lambda pair: pair[1])
    found = f"The most frequent reason is '{reason}' ({number:,})"
    if step := STEPS.get(reason):
        others = json.dumps([name for name in options.clean if name != step])
        return f"{found}; to keep them, leave out the cleaning step '{step}': --set 'corpus.clean={others}'"
    if reason.startswith("over"):
        return (
            f"{found}; if these hold several stories each, say what separates stories with --separator "
            "(line, blank, or a text such as ---)"
        )
    return f"{found}; corpus.min_words is the limit"


def warn_of_size(train: int, valid: int, progress: Progress) -> None:
    """Warn if there is little to train on or to measure with."""
    if valid == 1:
        progress.warn("corpus: only one story is held out, so all figures are those of a single story")
    if train < FEW_STORIES:
        progress.warn(
            f"corpus: with only {train:,} for training, a model will learn the stories by heart rather than "
            "how to write (10,000 are a start)"
        )
