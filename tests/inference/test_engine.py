"""The NumPy engine against PyTorch."""

from threading import Thread

import numpy as np
import pytest
import torch
from threadpoolctl import ThreadpoolController

from aurelius.config import shipped as recipes
from aurelius.config.recipe import Recipe
from aurelius.inference.batch_attention import attend_each
from aurelius.inference.engine import Cache, Engine
from aurelius.inference.one_thread import one_thread
from aurelius.model.llama import Llama
from tests.conftest import TINY
from tests.model.test_llama import random_llama


def pair(recipe: Recipe) -> tuple[Engine, Llama]:
    """Return an engine and a PyTorch model with the same random weights."""
    model = random_llama(recipe)
    return Engine(recipe.model, {n: p.detach().numpy() for n, p in model.named_parameters()}), model


def expected(model: Llama, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([ids]))[0].numpy()


@pytest.mark.parametrize("name", recipes.NAMES)
def test_logits_are_pytorchs_however_the_ids_arrive(name: str):
    recipe = Recipe.load(name)
    engine, model = pair(recipe)
    ids = torch.randint(0, recipe.tokenizer.vocab_size, (recipe.model.context,)).tolist()
    wanted, cache = expected(model, ids), Cache(recipe.model)
    tolerance = 1e-5 * max(1.0, float(np.abs(wanted).max()))
    for first, last in ((0, 7), (7, 8), (8, 9), (9, 30), (30, len(ids) - 1), (len(ids) - 1, len(ids))):
        found = engine.next_token_logits(ids[first:last], cache)
        assert found == pytest.approx(wanted[last - 1], abs=tolerance)


def test_one_engine_writes_several_stories_side_by_side(tiny: Recipe):
    numpy, model = pair(tiny)
    compiled = Engine(tiny.model, {n: p.detach().numpy() for n, p in model.named_parameters()}, attend_each)
    ids = torch.randint(0, 420, (3, 20)).numpy()
    wanted = [expected(model, row.tolist()) for row in ids]
    for engine in (numpy, compiled):
        cache, stories = Cache(tiny.model, 3), np.arange(3)
        ahead = np.array([0, 4, 9])  # each story is at a position of its own
        for story, length in enumerate(ahead.tolist()):
            engine.forward(ids[story, :length], np.full(length, story), np.arange(length), cache)
        for step in range(10):
            positions = ahead + step
            found = engine.logits(engine.forward(ids[stories, positions], stories, positions, cache))
            for story, position in enumerate(positions.tolist()):
                assert found[story] == pytest.approx(wanted[story][position], abs=1e-5)


def test_dropped_positions_are_as_if_they_had_never_been():
    # In one layer, keys and values depend on nothing but the token and its position.
    recipe = Recipe.load("pico", {**TINY, "model.layers": 1})
    engine, model = pair(recipe)
    ids = torch.randint(0, 420, (30,)).tolist()
    cache = Cache(recipe.model)
    engine.next_token_logits(ids[:20], cache)
    cache.drop(2, 7)
    assert cache.length == 13
    found = engine.next_token_logits(ids[20:], cache)
    assert found == pytest.approx(expected(model, ids[:2] + ids[9:])[-1], abs=1e-5)


def test_numpy_uses_one_thread_and_then_as_many_as_before():
    def threads() -> list[int]:
        return [library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()]

    before = threads()
    with one_thread():
        assert set(threads()) <= {1}
    assert threads() == before


def test_threads_that_write_at_once_leave_the_number_as_it_was():
    def threads() -> list[int]:
        return [library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()]

    def enter_often() -> None:
        for _ in range(300):
            with one_thread():
                assert set(threads()) <= {1}

    before = threads()
    workers = [Thread(target=enter_often) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert threads() == before
