from pathlib import Path

import numpy as np
import pytest

from aurelius.errors import ModelError
from aurelius.inference.endless import DROPPED, endless
from aurelius.inference.generate import generate
from aurelius.inference.open_model import open_model
from aurelius.inference.sampling import Sampling
from aurelius.inference.transformers_model import TransformersModel

GREEDY = Sampling(temperature=0)


def test_it_goes_on_beyond_the_context_and_past_the_end(tiny_storyteller: Path):
    model = open_model(tiny_storyteller)
    story = endless(model, 300, "One day", temperature=1, seed=1).finish()
    assert (story.tokens, story.ended) == (300, False)
    assert len(model.encode(story.text)) > 5 * model.context


def test_until_the_context_is_full_it_is_the_same_story(tiny_storyteller: Path):
    model = open_model(tiny_storyteller)
    model.suppressed = [*model.suppressed, 1]  # neither may end
    begun = generate(model, "One day", GREEDY, max_new_tokens=40).finish().text
    assert endless(model, 40, "One day", GREEDY).finish().text == begun


def test_what_is_kept_is_the_prefix_and_the_last_positions(tiny_storyteller: Path):
    """In the cache are the keys of these tokens at their new positions, to the precision of float32."""
    model = open_model(tiny_storyteller)
    ids = np.random.default_rng(0).integers(4, model.vocab_size, model.context - 2).tolist()
    cache = model.new_cache()
    model.next_token_logits(model.prefix + ids, cache)
    first_layer = cache.keys[0, 0].copy()
    cache.drop(2, DROPPED)
    again = model.new_cache()
    model.next_token_logits(model.prefix + ids[DROPPED:], again)
    kept = cache.keys[0, 0, :, : cache.length]
    assert kept == pytest.approx(again.keys[0, 0, :, : cache.length], abs=1e-4)
    assert not np.allclose(first_layer[:, : cache.length], kept, atol=1e-2)


def test_only_a_plain_llama_writes_without_end(tiny_storyteller: Path):
    model = TransformersModel(str(tiny_storyteller / "export/huggingface"), "cpu")
    with pytest.raises(ModelError, match="not a plain Llama"):
        endless(model, 10)
