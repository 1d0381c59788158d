"""What evaluation and generation need of a language model.

Shapes: B batch, T positions, V vocabulary.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aurelius.config.settings import GenerationSettings as Sampling
from aurelius.errors import ModelError

if TYPE_CHECKING:  # generation does without PyTorch, which takes seconds to import
    from torch import Tensor

    from aurelius.inference.prompt_end import Vocabulary


class LanguageModel(Protocol):
    """A causal language model with its tokenizer."""

    name: str
    context: int
    vocab_size: int
    parameters: int
    prefix: list[int]  # ids before every text, as at inference
    suppressed: list[int]  # ids that are never generated
    sampling: Sampling  # how it samples by default
    vocabulary: "Vocabulary | None"  # its tokens, if the tokenizer's words carry their trailing space

    @property
    def end(self) -> int | None:
        """The id that ends a story."""
        ...

    @property
    def unknown(self) -> int | None:
        """The id of what the vocabulary cannot spell."""
        ...

    def encode(self, text: str, parse_special: bool = False) -> list[int]:
        """Return the ids of a text, without prefix or end.

        Special tokens typed in it are text, or, with ``parse_special``, tokens.
        """
        ...

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids, special ones left out."""
        ...

    def logits(self, ids: "Tensor") -> "Tensor":
        """Map ids [B, T] to float32 logits [B, T, V]; T is at most the context."""
        ...

    def new_cache(self) -> Any:
        """Return an empty cache for `next_token_logits`."""
        ...

    def next_token_logits(self, ids: list[int], cache: Any) -> NDArray[np.float32]:
        """Append ids to those in the cache; return the next token's logits [V]."""
        ...

    def rewind(self, cache: Any, length: int) -> None:
        """Forget all but the first ``length`` ids in the cache."""
        ...


@dataclass(frozen=True)
class Inside:
    """What a model computes on ids [B, T], layer by layer.

    ``hidden`` [L + 1, B, T, D] are the embeddings and the output of every layer, the last one normalised for
    the head; ``attention`` [L, B, H, T, T] are the weights that each query gives to each key.
    """

    hidden: "Tensor"
    attention: "Tensor"


class Scorer(Protocol):
    """What measures a model: whole texts at once, by PyTorch."""

    def logits(self, ids: "Tensor") -> "Tensor":
        """Map ids [B, T] to float32 logits [B, T, V]; T is at most the context."""
        ...

    def inside(self, ids: "Tensor") -> Inside:
        """Return what is computed on ids [B, T] on the way, in float32 on the CPU."""
        ...

    def head(self) -> "Tensor":
        """Return the matrix [V, D] that maps the last hidden states to logits, in float32 on the CPU.

        Raises:
            ModelError: the model has none, or does more than that.
        """
        ...


class InspectableModel(LanguageModel, Scorer, Protocol):
    """A language model that shows what it computes; every one that `open_model` opens does."""


def leading(ids: Iterable[int], special: Collection[int], begin: int | None, end: int | None) -> list[int]:
    """Return what stands before every text: the special ids that a tokenizer makes of an empty one.

    If it adds none, the closest that such a model has to a beginning: its begin token, or its end token.
    """
    prefix = [i for i in ids if i in special and i != end]
    return prefix or [i for i in (begin, end) if i is not None][:1]


def check_special(ids: Iterable[int | None], vocab_size: int, where: str) -> None:
    """Refuse special ids that a model's vocabulary does not have.

    Raises:
        ModelError: an id is beyond the vocabulary; the message says ``where`` it was found.
    """
    if wrong := [i for i in ids if i is not None and not 0 <= i < vocab_size]:
        raise ModelError(
            f"{where} names the special token {wrong[0]}, but the model has only {vocab_size} tokens; this "
            "tokenizer does not belong to this model: use the one it was trained with"
        )
