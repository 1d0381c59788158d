"""The surprisal of every word of a text."""

import math
import re
from dataclasses import dataclass

import torch

from aurelius.inference.language_model import LanguageModel

WORD = re.compile(r"\s*\S+\s*")


@dataclass(frozen=True)
class Piece:
    """A word of a text, with the whitespace after it, and its bits: 1 bit halves the probability."""

    text: str
    bits: float


def surprise(model: LanguageModel, text: str) -> list[Piece]:
    """Return the words of ``text`` with their bits, as far as the context reaches.

    A word of several tokens costs what these cost together.
    """
    ids = model.encode(text)[: model.context + 1 - len(model.prefix)]
    if len(model.prefix) + len(ids) < 2:
        return []
    sequence = torch.tensor([[*model.prefix, *ids]])
    first = max(1, len(model.prefix))  # without a prefix nothing predicts the first token
    logits = model.logits(sequence[:, :-1])[0, first - 1 :].cpu()
    nats = torch.nn.functional.cross_entropy(logits, sequence[0, first:], reduction="none")
    costs = [0.0] * (first - len(model.prefix)) + (nats / math.log(2)).tolist()
    words = list(WORD.finditer(text))
    pieces: list[Piece] = []
    bits = 0.0
    for count, cost in enumerate(costs, 1):
        bits += cost
        spelt = len(model.decode(ids[:count]).rstrip())
        while len(pieces) < len(words) and spelt >= len(text[: words[len(pieces)].end()].rstrip()):
            pieces.append(Piece(words[len(pieces)].group(), bits))
            bits = 0.0
    return pieces
