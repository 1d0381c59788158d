"""Text as a model writes it."""

from collections.abc import Iterator
from typing import Any

import torch

from aurelius.config.settings import GenerationSettings as Sampling
from aurelius.errors import ModelError
from aurelius.inference.language_model import LanguageModel
from aurelius.inference.sampling import changed, sample_next_token

INCOMPLETE = "\ufffd"  # what the first bytes of a character decode to


def generate(
    model: LanguageModel,
    prompt: str = "",
    sampling: Sampling | None = None,
    seed: int | None = None,
    parse_special: bool = False,
    **changes: Any,
) -> Iterator[str]:
    """Return an iterator over the continuation of ``prompt``, piece by piece, until the story ends.

    ``prompt.rstrip()`` and the pieces joined are the story: no special token, no space before the first word
    after an empty prompt or after the last word. A story that outgrows the context continues from its last
    half, after the model's prefix.

    Args:
        model: see `open_model`.
        prompt: the beginning; may be empty.
        sampling: temperature, min-p, top-k, top-p and the maximum of new tokens; the model's own by default.
        seed: the same seed, model and settings give the same story; None draws one.
        parse_special: special tokens typed in the prompt, such as ``</s>``, are tokens instead of text.
        changes: single values of the sampling, such as ``temperature=1``.

    Raises:
        RecipeError: a value of the sampling is unknown or impossible.
        TokenizerError: the prompt is not encodable text.
        ModelError: the prompt is empty and the model has no begin token.
    """
    return _continue(model, prompt, changed(sampling or model.sampling, changes), seed, parse_special)


def _continue(
    model: LanguageModel, prompt: str, sampling: Sampling, seed: int | None, parse_special: bool
) -> Iterator[str]:
    generator = torch.Generator()
    generator.manual_seed(generator.seed() if seed is None else seed % 2**63)
    ids = model.encode(prompt, parse_special)
    if not model.prefix and not ids:
        raise ModelError(f"{model.name} has no begin token; pass a prompt to continue")
    half = model.context // 2
    fits = len(model.prefix) + len(ids) < model.context
    feed, cache = model.prefix + (ids if fits else ids[-half:]), model.new_cache()
    cached = 0  # positions in the cache
    shown = _visible(model.decode(ids)) if ids else ""
    opening = not shown
    for _ in range(sampling.max_new_tokens):
        if cached + len(feed) > model.context:
            feed, cache, cached = model.prefix + ids[-half:], model.new_cache(), 0
        logits = model.next_token_logits(feed, cache)
        cached += len(feed)
        logits[model.suppressed] = float("-inf")
        token = sample_next_token(logits, sampling, generator)
        if token == model.end:
            return
        ids.append(token)
        feed = [token]
        # Not `DecodeStream` of tokenizers: it raises on bytes that are not UTF-8, which a model may generate.
        text = _visible(model.decode(ids))
        if opening:
            text = text.lstrip()
        if len(text) > len(shown):
            yield text[len(shown) :]
            shown = text


def _visible(text: str) -> str:
    """Leave out what may still change or vanish: the beginning of a character, trailing whitespace."""
    return text.rstrip(INCOMPLETE).rstrip()
