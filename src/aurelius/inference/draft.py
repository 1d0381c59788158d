"""One story while it is written: what to feed the model next, and what its logits decide."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from aurelius.config.settings import GenerationSettings as Sampling
from aurelius.errors import ModelError
from aurelius.inference.language_model import LanguageModel
from aurelius.inference.prompt import Prompt
from aurelius.inference.sampling import sample_next_token


class Draft:
    """A story's ids, its limit and its own random numbers."""

    def __init__(
        self, model: LanguageModel, prompt: Prompt, sampling: Sampling, seed: int, endless: bool = False
    ):
        """Begin a story; an ``endless`` one is never ended by the model.

        Raises:
            ModelError: the prompt fills the context, and the sampling does not say how many tokens to write.
        """
        self.model, self.prompt, self.sampling, self.seed = model, prompt, sampling, seed
        self.random = np.random.default_rng(seed)
        self.ids = list(prompt.ids)
        ends = [model.end] if endless and model.end is not None else []
        self.never = np.array([*model.suppressed, *ends], np.int64)
        self.blocked = self.never
        if paths := prompt.paths:
            path = sample_next_token(paths.log_weights, sampling, self.random)
            self.ids += paths.ids[path]
            if paths.bare[path]:
                self.blocked = np.array([*self.never, *prompt.lengthening])
        room = model.context - len(model.prefix) - len(self.ids)
        if not sampling.max_new_tokens and room <= 0:
            raise ModelError(
                f"the prompt has {len(self.ids):,} tokens, and the context of {model.name} holds "
                f"{model.context:,}; shorten it, or say how many tokens to write (--max-tokens): then the "
                "story goes on from the prompt's last part"
            )
        self.limit = sampling.max_new_tokens or room
        self.most = len(self.ids) + self.limit
        self.ended = False
        self.feed = model.prefix + self.ids[-(model.context // 2) if room <= 0 else 0 :]
        self.cached = 0  # positions in the model's cache

    @property
    def done(self) -> bool:
        """Whether the model has ended the story, or the limit."""
        return self.ended or len(self.ids) >= self.most

    def restart_if_full(self) -> bool:
        """Whether the next ids need an empty cache: at first, and when the context is full.

        Then they are the model's prefix and the last half of the context.
        """
        if self.cached + len(self.feed) > self.model.context:
            self.feed, self.cached = self.model.prefix + self.ids[-(self.model.context // 2) :], 0
        return self.cached == 0

    def take(self, logits: NDArray[np.float32]) -> None:
        """Choose what follows, by the logits [V] after ``feed``."""
        self.cached += len(self.feed)
        logits[self.blocked] = -np.inf
        self.blocked = self.never
        token = sample_next_token(logits, self.sampling, self.random)
        if token == self.model.end:
            self.ended = True
        else:
            self.ids.append(token)
            self.feed = [token]


def write(draft: Draft) -> Iterator[None]:
    """Write a story, one token a step; when the context is full, go on from its last half."""
    cache = None
    while not draft.done:
        if draft.restart_if_full():
            cache = draft.model.new_cache()
        draft.take(draft.model.next_token_logits(draft.feed, cache))
        yield
