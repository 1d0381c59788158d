"""How varied texts are: among themselves, and each within itself. All of it by words, in lower case."""

import math
from collections import Counter
from collections.abc import Sequence

Words = Sequence[str]
Grams = Counter[tuple[str, ...]]

LOOP_WORDS, LOOP_TIMES = 6, 3  # 0.8 % of TinyStories say the same six words three times


def grams(words: Words, n: int) -> Grams:
    """Count the n-grams of a text."""
    return Counter(zip(*(words[start:] for start in range(n)), strict=False))


def distinct(texts: Sequence[Words], n: int) -> float:
    """Return distinct-n: different n-grams / all of them (Li et al. 2016). It falls as texts are added."""
    counts = [grams(words, n) for words in texts]
    total = sum(count.total() for count in counts)
    return len(set().union(*counts)) / total if total else 0.0


def self_bleu(texts: Sequence[Words], most: int = 4) -> float:
    """Return the mean BLEU (Papineni et al. 2002) of each text with all others as its references, 0 to 1.

    Source: Zhu et al. 2018 (Texygen, arXiv 1802.01886). No smoothing: a text that shares no 4-gram has 0.
    """
    if len(texts) < 2:
        return 0.0
    logs = [0.0] * len(texts)
    for n in range(1, most + 1):
        counts = [grams(words, n) for words in texts]
        highest = _highest_two(counts)
        for number, count in enumerate(counts):
            matched = 0
            for gram, times in count.items():
                (first, owner), second = highest[gram]
                matched += min(times, second if owner == number else first)
            logs[number] += math.log(matched / count.total()) / most if matched else -math.inf
    lengths = [len(words) for words in texts]
    total = 0.0
    for number, length in enumerate(lengths):
        others = lengths[:number] + lengths[number + 1 :]
        closest = min(others, key=lambda other: (abs(other - length), other))
        penalty = min(0.0, 1 - closest / length) if length else 0.0
        total += math.exp(logs[number] + penalty)
    return total / len(texts)


def _highest_two(counts: Sequence[Grams]) -> dict[tuple[str, ...], tuple[tuple[int, int], int]]:
    """Return for every n-gram its highest count with the text that has it, and the next highest."""
    found: dict[tuple[str, ...], tuple[tuple[int, int], int]] = {}
    for number, count in enumerate(counts):
        for gram, times in count.items():
            (first, owner), second = found.get(gram, ((0, -1), 0))
            if times > first:
                found[gram] = (times, number), first
            else:
                found[gram] = (first, owner), max(second, times)
    return found


def repetition(words: Words, n: int = 4) -> float:
    """Return the share of a text's n-grams that it had before (seq-rep-n: Welleck et al. 2020)."""
    count = grams(words, n)
    return 1 - len(count) / count.total() if count else 0.0


def loops(words: Words) -> bool:
    """Whether a text goes round in circles: the same six words, three times."""
    return max(grams(words, LOOP_WORDS).values(), default=0) >= LOOP_TIMES
