"""How a prompt ends: its last word is complete, and what follows the word is open ("token healing").

In a suffix-space tokenizer a word carries its trailing space, so encoding a prompt decides what follows its
last word: ``a time`` becomes ``a␣time␣``, and ``a time,`` can no longer be written, although a comma follows
in most stories. Tokenizers whose words carry a leading space have the mirror image of this problem, for which
taking back the last token is a known cure (S. Lundberg, "The Art of Prompt Design: Prompt Boundaries and
Token Healing", 2023).

Here the whole last word is taken back. Every sequence of tokens that spells it, bare or with whitespace after
it, is a *path*; the model says how likely each is, and one is drawn. The search always goes on from the
likeliest sequence that is unfinished, so it soon ends: nearly all probability is in a few paths.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from aurelius.tokenizer.suffix_bpe import SPACE

if TYPE_CHECKING:
    from aurelius.inference.language_model import LanguageModel

WHITESPACE = "".join(re.findall(f"[{SPACE}]", "".join(map(chr, range(0x3001))) + "\ufeff"))
BYTE = re.compile("<0x([0-9A-F]{2})>")
REMAINING = 1e-3  # the search ends when unfinished sequences have this share of the paths' probability
MOST_SEQUENCES = 64  # that are looked into: a rare word may be spelt in very many ways


@dataclass(frozen=True)
class PromptEnd:
    """The ids before a prompt's last word, and what the rest has to spell."""

    before: list[int]
    word: str
    typed: str  # the whitespace after it in the prompt
    open: bool = False  # the word may go on

    @property
    def target(self) -> bytes:
        """What every path begins with."""
        return (self.word + self.typed).encode()

    def allows(self, rest: bytes) -> bool:
        """Whether a path may go on like this after the target."""
        return self.open or not without_spaces(rest.decode(errors="replace"))


@dataclass(frozen=True)
class Paths:
    """The ways to spell the end of a prompt, each with its log-probability."""

    ids: list[list[int]]
    log_weights: NDArray[np.float64]
    bare: list[bool]  # nothing follows the word yet, so the next token must not lengthen it


class Vocabulary:
    """The tokens of a suffix-space tokenizer as bytes; empty for special tokens."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        size = max(tokenizer.get_vocab().values(), default=-1) + 1
        texts = (tokenizer.id_to_token(i) or "" for i in range(size))
        self.bytes = [b"" if i in special else _bytes(text) for i, text in enumerate(texts)]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Vocabulary | None":
        """Return the vocabulary of a suffix-space tokenizer; None for a tokenizer of another kind."""
        ids = tokenizer.encode("a dog", add_special_tokens=False).ids
        if not tokenizer.pre_tokenizer or ids != tokenizer.encode("a dog ", add_special_tokens=False).ids:
            return None
        vocabulary = cls(tokenizer)
        return vocabulary if b"".join(vocabulary.bytes[i] for i in ids) == b"a dog " else None

    def end_of(self, prompt: str, ids: list[int], word_open: bool = False) -> PromptEnd | None:
        """Take back the last word of an encoded prompt; None if it does not end in a word.

        Args:
            prompt: as it was typed: encoding it has changed the whitespace at its end.
            ids: of the prompt.
            word_open: the word may go on.
        """
        normalizer = self.tokenizer.normalizer
        words = self._split(normalizer.normalize_str(prompt) if normalizer else prompt)
        last = words[-1] if words else ""
        count, length = 0, len(last.encode())
        while count < len(ids) and length > 0:
            count += 1
            length -= len(self.bytes[ids[-count]])
        taken = ids[len(ids) - count :]
        if not without_spaces(last) or b"".join(self.bytes[i] for i in taken) != last.encode():
            return None  # whitespace alone, or a special token that was parsed
        typed = prompt[len(without_spaces(prompt)) :]
        return PromptEnd(ids[: len(ids) - count], without_spaces(last), typed, word_open)

    def paths(self, model: "LanguageModel", end: PromptEnd, remaining: float = REMAINING) -> Paths | None:
        """Find the paths of a prompt's end; None if there are none.

        Args:
            model: the language model, which needs at least one id before the word.
            end: what to spell.
            remaining: the share of the probability that may be left in unfinished sequences.
        """
        before, target = model.prefix + end.before, end.target
        most = model.context - len(before)  # ids that the model can still read
        if not before:
            return None
        cache = model.new_cache()
        first = model.next_token_logits(before, cache)
        found: dict[tuple[int, ...], float] = {}
        waiting: dict[tuple[int, ...], float] = {(): 0.0}  # log-probability
        looked_into = 0

        def look_into(ids: tuple[int, ...]) -> None:
            nonlocal looked_into
            looked_into += 1
            so_far = waiting.pop(ids)
            model.rewind(cache, len(before))
            scores = model.next_token_logits(list(ids), cache) if ids else first
            scores = scores.astype(np.float64)
            scores[model.suppressed] = -np.inf
            scores -= np.logaddexp.reduce(scores)
            rest = target[sum(len(self.bytes[i]) for i in ids) :]
            for i, token in enumerate(self.bytes):
                if len(ids) + 1 >= most:  # the story needs room
                    continue
                if token.startswith(rest) and end.allows(token[len(rest) :]):
                    found[*ids, i] = so_far + scores[i]
                elif token and rest.startswith(token):
                    waiting[*ids, i] = so_far + scores[i]

        spellings = [end.word + end.typed] if end.typed else [end.word, end.word + " "]
        for spelling in spellings:  # as in training: they are found even if the word is a rare one
            ids = tuple(token.id for token in self.tokenizer.model.tokenize(spelling))
            for length in range(len(ids)):
                if ids[:length] in waiting:
                    look_into(ids[:length])
        while waiting and looked_into < MOST_SEQUENCES:
            left = np.logaddexp.reduce(list(waiting.values()))
            if found and np.exp(left - np.logaddexp.reduce(list(found.values()))) <= remaining:
                break
            look_into(max(waiting, key=waiting.__getitem__))
        if not found:
            return None
        bare = [
            not end.open and sum(len(self.bytes[i]) for i in ids) == len(end.word.encode()) for ids in found
        ]
        return Paths([list(ids) for ids in found], np.array(list(found.values())), bare)

    def lengthening(self, word: str) -> list[int]:
        """Return the tokens that, right after a bare ``word``, would make it longer."""

        def lengthens(token: bytes) -> bool:
            try:
                text = token.decode()
            except UnicodeDecodeError:
                return True  # part of a character of another script, most likely a letter
            return bool(text) and len(without_spaces(self._split(word[-1] + text)[0])) > 1

        return [i for i, token in enumerate(self.bytes) if lengthens(token)]

    def _split(self, text: str) -> list[str]:
        return [piece for piece, _ in self.tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def without_spaces(text: str) -> str:
    """Return a text without the whitespace, as our tokenizers know it, at its end."""
    return text.rstrip(WHITESPACE)


def _bytes(token: str) -> bytes:
    byte = BYTE.fullmatch(token)
    return bytes.fromhex(byte[1]) if byte else token.encode()
