"""What of some texts is copied from a corpus, word by word.

The texts are indexed, not the corpus, which may be any size: it is read once, story by story, through an
automaton of all word sequences that the texts contain. Memory depends on the texts alone.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w+(?:['’]\w+)*")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return WORD.findall(text.lower())


class SuffixAutomaton:
    """Every sequence of words in some texts, and which of them were met elsewhere.

    A state stands for the sequences that end at the same places; the suffix link of a state leads to the
    longest ones that also end elsewhere (Blumer et al. 1985, Theoretical Computer Science 40).
    """

    def __init__(self):
        self.next: list[dict[str, int]] = [{}]
        self.link = [-1]
        self.length = [0]  # of the longest sequence of each state
        self.met = [0]  # words of the longest one that was met elsewhere

    def _state(self, following: dict[str, int], link: int, length: int) -> int:
        self.next.append(following)
        self.link.append(link)
        self.length.append(length)
        self.met.append(0)
        return len(self.length) - 1

    def extend(self, last: int, word: str) -> int:
        """Add the sequences that end with ``word`` after those of state ``last``; return its new state."""
        if word in self.next[last]:  # known from another text
            known = self.next[last][word]
            return known if self.length[known] == self.length[last] + 1 else self._split(last, word, known)
        new, state = self._state({}, 0, self.length[last] + 1), last
        while state >= 0 and word not in self.next[state]:
            self.next[state][word] = new
            state = self.link[state]
        if state >= 0:
            known = self.next[state][word]
            is_next = self.length[known] == self.length[state] + 1
            self.link[new] = known if is_next else self._split(state, word, known)
        return new

    def _split(self, state: int, word: str, known: int) -> int:
        """Make a state of the shorter sequences of ``known``, which now end in one place more."""
        copy = self._state(dict(self.next[known]), self.link[known], self.length[state] + 1)
        self.link[known] = copy
        while state >= 0 and self.next[state].get(word) == known:
            self.next[state][word] = copy
            state = self.link[state]
        return copy

    def meet(self, words: Iterable[str]) -> None:
        """Note which of the sequences ``words`` contain."""
        state = length = 0
        following, link, longest, met = self.next, self.link, self.length, self.met
        for word in words:
            while state and word not in following[state]:
                state = link[state]
                length = longest[state]
            if word in following[state]:
                state = following[state][word]
                length += 1
                if length > met[state]:
                    met[state] = length

    def settle(self) -> None:
        """Let what was met count for the suffixes of its sequences, too; call it after the last `meet`."""
        for state in sorted(range(1, len(self.link)), key=self.length.__getitem__, reverse=True):
            link = self.link[state]
            if self.met[state]:
                self.met[link] = self.length[link]


def copied(texts: Sequence[str], corpus: Iterable[str]) -> list[NDArray[np.int64]]:
    """Say for every word of ``texts`` how many words that end with it stand so somewhere in ``corpus``.

    An n-gram of a text occurs in the corpus exactly if the value at its last word is n or more; the longest
    copied span of a text is the largest of its values.

    Args:
        texts: what may be copied.
        corpus: where from; it is read once.

    Returns:
        An array [words] for every text.
    """
    automaton = SuffixAutomaton()
    words = [words_of(text) for text in texts]
    for each in words:
        state = 0
        for word in each:
            state = automaton.extend(state, word)
    for text in corpus:
        automaton.meet(words_of(text))
    automaton.settle()
    found = []
    for each in words:
        lengths, state = [], 0
        for word in each:
            state = automaton.next[state][word]
            longest = state
            while longest > 0 and not automaton.met[longest]:
                longest = automaton.link[longest]
            lengths.append(automaton.met[longest] if longest > 0 else 0)
        found.append(np.array(lengths, np.int64))
    return found
