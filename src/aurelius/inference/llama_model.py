"""A Llama with its own tokenizer: it writes by our engine, at once and without PyTorch, which only scores."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from aurelius.config.settings import GenerationSettings as Sampling
from aurelius.config.settings import ModelSettings
from aurelius.inference.engine import Cache, Engine
from aurelius.inference.language_model import Inside, Scorer
from aurelius.inference.prompt_end import Vocabulary
from aurelius.model.weight_names import EMBEDDING
from aurelius.tokenizer.load import check_text

if TYPE_CHECKING:
    from torch import Tensor


class LlamaModel:
    """See `LanguageModel`."""

    def __init__(
        self,
        name: str,
        shape: ModelSettings,
        weights: Mapping[str, NDArray[np.float32]],
        tokenizer: Tokenizer,
        sampling: Sampling,
        *,
        prefix: list[int],
        end: int | None,
        unknown: int | None,
        suppressed: list[int],
        load_scorer: Callable[[], Scorer],
    ):
        """Take a model apart from where it is stored.

        Args:
            name: how messages and reports call it.
            shape, weights: float32, by their published names.
            tokenizer: as `aurelius.tokenizer.load` returns it.
            sampling: how it samples by default.
            prefix, end, unknown, suppressed: see `LanguageModel`.
            load_scorer: loads what measures; called when it is first needed.
        """
        self.name, self.shape, self.sampling = name, shape, sampling
        self.tokenizer = tokenizer
        self.prefix, self.end, self.unknown, self.suppressed = prefix, end, unknown, suppressed
        self.context = shape.context
        self.vocab_size = len(weights[EMBEDDING])
        self.parameters = sum(value.size for value in weights.values())
        self.vocabulary = Vocabulary.of(tokenizer)
        self.weights, self._load_scorer = weights, load_scorer

    @cached_property
    def engine(self) -> Engine:
        """What generates."""
        return Engine(self.shape, self.weights)

    @cached_property
    def _parsing(self) -> Tokenizer:
        parsing = Tokenizer.from_str(self.tokenizer.to_str())
        parsing.encode_special_tokens = False
        return parsing

    @cached_property
    def _scorer(self) -> Scorer:
        return self._load_scorer()

    def encode(self, text: str, parse_special: bool = False) -> list[int]:
        """See `LanguageModel`."""
        tokenizer = self._parsing if parse_special else self.tokenizer
        return tokenizer.encode(check_text(text), add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """See `LanguageModel`."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def logits(self, ids: "Tensor") -> "Tensor":
        """See `LanguageModel`."""
        return self._scorer.logits(ids)

    def inside(self, ids: "Tensor") -> Inside:
        """See `LanguageModel`."""
        return self._scorer.inside(ids)

    def head(self) -> "Tensor":
        """See `LanguageModel`."""
        return self._scorer.head()

    def new_cache(self) -> Cache:
        """See `LanguageModel`."""
        return Cache(self.shape)

    def next_token_logits(self, ids: list[int], cache: Cache) -> NDArray[np.float32]:
        """See `LanguageModel`."""
        return self.engine.next_token_logits(ids, cache)

    def rewind(self, cache: Cache, length: int) -> None:
        """See `LanguageModel`."""
        cache.length = length
