"""A story without end: every token costs the model the same time, and its memory does not grow.

The cache keeps the model's prefix, such as ``<sink> <s>``, and a rolling window of the last positions,
which are renumbered: StreamingLLM (Xiao et al. 2023, arXiv 2309.17453).
"""

from collections.abc import Iterator
from typing import Any

from aurelius.config.settings import GenerationSettings as Sampling
from aurelius.errors import ModelError
from aurelius.inference.draft import Draft
from aurelius.inference.generate import Story
from aurelius.inference.language_model import LanguageModel
from aurelius.inference.llama_model import LlamaModel
from aurelius.inference.prompt import Prompt
from aurelius.inference.sampling import changed, checked_seed
from aurelius.inference.text import Text

DROPPED = 16  # positions that leave the window at a time


def endless(
    model: LanguageModel,
    tokens: int,
    prompt: str = "",
    sampling: Sampling | None = None,
    seed: int | None = None,
    parse_special: bool = False,
    continue_word: bool = False,
    **changes: Any,
) -> Story:
    """Return a story of ``tokens`` tokens that the model cannot end; see `generate` for the rest.

    Raises:
        ModelError: the model is not a plain Llama, or as in `generate`.
    """
    if not isinstance(model, LlamaModel):
        raise ModelError(f"{model.name} is not a plain Llama, and only such a model writes without end")
    sampling = changed(sampling or model.sampling, changes | {"max_new_tokens": tokens})
    opened = Prompt.read(model, prompt, parse_special, continue_word)
    draft = Draft(model, opened, sampling, checked_seed(seed), endless=True)
    return Story(Text(model, draft), prompt, _write(model, draft))


def _write(model: LlamaModel, draft: Draft) -> Iterator[None]:
    cache, kept = model.new_cache(), len(model.prefix)
    while not draft.done:
        if cache.length + len(draft.feed) > model.context:
            cache.drop(kept, min(DROPPED, (model.context - kept) // 2))
        draft.take(model.next_token_logits(draft.feed, cache))
        yield
