"""Many stories at once: a batch of fixed width, in which a finished story makes room for the next.

A story's text depends on its prompt and seed alone, not on its neighbours: every product has the same shape
at every step, whoever is in the batch, and attention is computed for each story by itself.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from aurelius.config.settings import GenerationSettings as Sampling
from aurelius.inference.draft import Draft, write
from aurelius.inference.engine import Cache, Engine
from aurelius.inference.language_model import LanguageModel
from aurelius.inference.llama_model import LlamaModel
from aurelius.inference.one_thread import one_thread
from aurelius.inference.prompt import Prompt
from aurelius.inference.text import Text

WIDTH = 32  # stories of a batch: more of them would push each other's keys and values out of the cache


@dataclass(frozen=True)
class Request:
    """A story to be written; its ``number`` is for who asks."""

    number: int
    prompt: str
    seed: int


@dataclass(frozen=True)
class Written:
    """A story that is written; ``ended`` says whether the model ended it, or a limit."""

    number: int
    prompt: str
    seed: int
    text: str
    tokens: int
    ended: bool


def write_stories(
    model: LanguageModel,
    requests: Iterable[Request],
    sampling: Sampling,
    parse_special: bool = False,
    continue_word: bool = False,
    width: int = WIDTH,
) -> Iterator[Written]:
    """Write stories, in the order in which they are finished.

    Args:
        model: a Llama writes in batches; other models one story after the other.
        requests: prompts and seeds.
        sampling, parse_special, continue_word: see `generate`.
        width: stories in a batch.

    Raises:
        TokenizerError, ModelError: see `generate`.
    """
    opened = lru_cache(maxsize=1024)(lambda text: Prompt.read(model, text, parse_special, continue_word))

    def drafts() -> Iterator[tuple[Request, Draft]]:
        for request in requests:
            yield request, Draft(model, opened(request.prompt), sampling, request.seed)

    if isinstance(model, LlamaModel):
        finished = _write_in_batches(model, drafts(), width)
    else:
        finished = _write_singly(model, drafts())
    for request, text in finished:
        draft, tokens = text.draft, len(text.draft.ids) - text.first
        whole = request.prompt.rstrip() + text.whole()
        yield Written(request.number, request.prompt, request.seed, whole, tokens, draft.ended)


Drafts = Iterator[tuple[Request, Draft]]
Finished = Iterator[tuple[Request, Text]]


def _write_singly(model: LanguageModel, drafts: Drafts) -> Finished:
    for request, draft in drafts:
        text = Text(model, draft)
        for _ in write(draft):
            pass
        yield request, text


def _write_in_batches(model: LlamaModel, drafts: Drafts, width: int) -> Finished:
    from aurelius.inference.batch_attention import attend_each  # compiled: it takes a moment to load

    engine, cache = Engine(model.shape, model.weights, attend_each), Cache(model.shape, width)
    every = np.arange(width)
    active: list[tuple[Request, Text] | None] = [None] * width
    while True:
        for story in range(width):
            while True:
                place = active[story]
                if place is None:
                    if (new := next(drafts, None)) is None:
                        break
                    place = active[story] = new[0], Text(model, new[1])
                draft = place[1].draft
                if draft.done:
                    yield place
                    active[story] = None
                elif draft.restart_if_full():
                    positions = np.arange(len(draft.feed))
                    with one_thread():
                        x = engine.forward(draft.feed, np.full_like(positions, story), positions, cache)
                        logits = engine.logits(x[-1:])[0]
                    draft.take(logits)
                else:
                    break
        if not any(active):
            return
        # A free place computes something, too, so that the shapes, and the stories, stay the same.
        ids = [place[1].draft.feed[0] if place else 0 for place in active]
        positions = np.array([place[1].draft.cached if place else 0 for place in active])
        with one_thread():
            logits_of_all = engine.logits(engine.forward(ids, every, positions, cache))
        for place, logits in zip(active, logits_of_all, strict=True):
            if place:
                place[1].draft.take(logits)
