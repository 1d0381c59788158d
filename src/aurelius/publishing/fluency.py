"""Whether a model writes sentences yet: do its words follow each other as they do in stories?

Perplexity does not tell, because it depends on the corpus. The share of word pairs that occur in the training
stories does, when it is compared with that of held-out stories.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from aurelius.data.stories import StoryFile
from aurelius.files import read_json
from aurelius.run_paths import RunPaths

READ = 20_000  # training stories, at most
HELD_OUT = 50
ENOUGH = 0.85  # of the share among held-out stories
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def pairs(text: str) -> list[tuple[str, str]]:
    """Return the pairs of words that follow each other in a text, in lower case."""
    words = WORD.findall(text.lower())
    return list(pairwise(words))


def shares(texts: Sequence[Sequence[str]], stories: Iterable[str]) -> list[float]:
    """Return, for each list of texts, the share of its word pairs that occur in any of the stories."""
    wanted = [[pair for text in each for pair in pairs(text)] for each in texts]
    missing = {pair for each in wanted for pair in each}
    for story in stories:
        missing.difference_update(pairs(story))
    return [1 - sum(pair in missing for pair in each) / max(1, len(each)) for each in wanted]


def word_salad(run: RunPaths) -> str | None:
    """Say so if the samples of an evaluated run are not made of sentences, or return None."""
    samples = [sample["text"] for sample in read_json(run.report_file)["samples"]]
    held_out = list(StoryFile(run.corpus, "valid", limit=HELD_OUT))
    written, expected = shares([samples, held_out], StoryFile(run.corpus, "train", limit=READ))
    if written >= ENOUGH * expected:
        return None
    return (
        f"this model does not write sentences yet: {written:.0%} of the word pairs in its samples occur in "
        f"the training stories, against {expected:.0%} in held-out stories; train it longer before you "
        "publish it"
    )
