"""Text as a model writes it."""

from collections.abc import Iterator

import torch

from aurelius.errors import ModelError
from aurelius.inference.models import LanguageModel
from aurelius.inference.sampling import Sampling, choose

UNFINISHED = "\ufffd"  # what the first bytes of a character decode to


def generate(
    model: LanguageModel,
    prompt: str = "",
    sampling: Sampling | None = None,
    seed: int = 0,
    parse_special: bool = False,
) -> Iterator[str]:
    """Yield the continuation of ``prompt`` piece by piece, until the story ends.

    ``prompt.rstrip()`` and the pieces joined are the story: no special token, no space before the first
    word of an empty prompt or after the last word. A story that outgrows the context goes on from its last
    half, behind the model's prefix.

    Args:
        model: see `aurelius.lm.open_model`.
        prompt: the beginning; may be empty.
        sampling: temperature, min-p, top-k, top-p and the most tokens; the model's own by default.
        seed: the same seed, model and settings give the same story.
        parse_special: special tokens typed in the prompt, such as ``</s>``, are tokens, not text.

    Raises:
        TokenizerError: the prompt is not encodable text.
        ModelError: the prompt is empty and the model has no begin token.
    """
    sampling = sampling or model.sampling
    random = torch.Generator().manual_seed(seed % 2**63)
    ids = model.encode(prompt, parse_special) if prompt else []
    half = model.context // 2
    fits = len(model.prefix) + len(ids) < model.context
    if not model.prefix and not ids:
        raise ModelError(f"{model.name} has no begin token; give it a prompt to go on from")
    shown = _visible(model.decode(ids)) if ids else ""
    opening = not shown
    feed, cache = model.prefix + (ids if fits else ids[-half:]), model.new_cache()
    held = 0  # positions in the cache
    for _ in range(sampling.max_new_tokens):
        if held + len(feed) > model.context:
            feed, cache, held = model.prefix + ids[-half:], model.new_cache(), 0
        logits = model.following(feed, cache)
        held += len(feed)
        logits[model.banned] = float("-inf")
        token = choose(logits, sampling, random)
        if token == model.end:
            return
        ids.append(token)
        feed = [token]
        text = _visible(model.decode(ids))
        if opening:
            text = text.lstrip()
        if len(text) > len(shown):
            yield text[len(shown) :]
            shown = text


def _visible(text: str) -> str:
    """Leave out what may still change or vanish: a trailing space, the beginning of a character."""
    return text.rstrip(UNFINISHED).rstrip()
