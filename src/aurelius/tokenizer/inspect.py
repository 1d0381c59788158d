"""Inspect a tokenizer: how it splits a text, how many bytes its tokens hold, and which it never uses."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from aurelius.errors import TokenizerError
from aurelius.special_tokens import BYTE_TOKENS, SPECIAL_TOKENS
from aurelius.tokenizer.load import check_text, load

BATCH = 1000


@dataclass(frozen=True)
class Inspection:
    """Some texts as tokens, and what that says about the vocabulary."""

    pieces: list[tuple[str, int]]  # of the first text: each token and its id
    texts: int
    tokens: int
    bytes: int
    vocab_size: int
    byte_tokens: int  # tokens that spell single bytes
    longest: list[str]
    unused: list[str] = field(default_factory=list)  # of the learned tokens, the earliest learned first

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of the texts per token."""
        return self.bytes / max(1, self.tokens)


def find(model: Path) -> Path:
    """Return the ``tokenizer.json`` of a run or a model folder, or the file itself.

    Raises:
        TokenizerError: there is none.
    """
    for path in (model / "tokenizer" / "tokenizer.json", model / "tokenizer.json", model):
        if path.is_file():
            return path
    raise TokenizerError(f"{model} is not a run, a model folder with a tokenizer.json, or such a file")


def inspect(model: Path, texts: Iterable[str]) -> Inspection:
    """Encode ``texts`` with the tokenizer of ``model`` (see `find`).

    Raises:
        TokenizerError: there is no tokenizer, or it is damaged.
    """
    tokenizer = load(find(model))
    size = tokenizer.get_vocab_size()
    counts = np.zeros(size, np.int64)
    pieces: list[tuple[str, int]] | None = None
    number = length = 0
    texts = iter(texts)
    while batch := [check_text(text) for text in islice(texts, BATCH)]:
        for text, encoding in zip(
            batch, tokenizer.encode_batch(batch, add_special_tokens=False), strict=True
        ):
            if pieces is None:
                pieces = list(zip(encoding.tokens, encoding.ids, strict=True))
            counts += np.bincount(encoding.ids, minlength=size)
            length += len(text.encode())
        number += len(batch)
    learned = _learned(tokenizer, size)
    return Inspection(
        pieces=pieces or [],
        texts=number,
        tokens=int(counts.sum()),
        bytes=length,
        vocab_size=size,
        byte_tokens=int(counts[[tokenizer.token_to_id(token) or 0 for token in BYTE_TOKENS]].sum()),
        longest=sorted(learned, key=lambda token: (-len(token), token))[:20],
        unused=[token for token in learned if not counts[tokenizer.token_to_id(token)]],
    )


def _learned(tokenizer: Tokenizer, size: int) -> list[str]:
    fixed = {*SPECIAL_TOKENS, *BYTE_TOKENS}
    tokens = (tokenizer.id_to_token(number) for number in range(size))
    return [token for token in tokens if token and token not in fixed]
