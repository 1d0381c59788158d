"""The compiled loss and gradients against autograd's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelius.config.recipe import Recipe
from aurelius.config.settings import ModelSettings
from aurelius.model.llama import Llama
from aurelius.special_tokens import BOS, IGNORE_INDEX
from aurelius.training.cpu_step.engine import CpuStep
from aurelius.training.cpu_threads import ThreadTeam


def model_of(shape: ModelSettings, vocab_size: int, seed: int) -> Llama:
    """Return a model whose weights are large enough for every part to matter."""
    model = Llama(shape, vocab_size)
    model.initialise(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4) if p.ndim == 2 else p.uniform_(0.5, 1.5)
    return model


def compare(model: Llama, ids: torch.Tensor, targets: torch.Tensor, begin: int | None, threads: int) -> None:
    scale = 1 / 37
    expected = model.loss(ids, targets, begin)
    gradients = torch.autograd.grad(expected * scale, list(model.parameters()))
    step = CpuStep(model, ThreadTeam(threads))
    loss = step.gradients(ids, targets, begin, scale)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    for (name, p), exact in zip(model.named_parameters(), gradients, strict=True):
        assert p.grad is not None
        assert (p.grad - exact).norm() <= 2e-5 * exact.norm() + 1e-6, name


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_gradients_are_autograds(data: st.DataObject):
    kv_heads, group = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    E = data.draw(st.sampled_from([2, 6, 16, 32]))
    context = data.draw(st.sampled_from([8, 31, 32, 33, 65, 100]))
    shape = ModelSettings(
        layers=data.draw(st.integers(1, 3)),
        d_model=kv_heads * group * E,
        d_mlp=data.draw(st.integers(1, 40)),
        heads=kv_heads * group,
        kv_heads=kv_heads,
        context=context,
    )
    seed = data.draw(st.integers(0, 1000))
    model = model_of(shape, 61, seed)
    random = torch.Generator().manual_seed(seed)
    B, T = data.draw(st.integers(1, 4)), data.draw(st.integers(2, context))
    ids = torch.randint(4, 61, (B, T), generator=random)
    ids[torch.rand(B, T, generator=random) < 0.1] = BOS
    targets = torch.randint(61, (B, T), generator=random)
    targets[torch.rand(B, T, generator=random) < 0.1] = IGNORE_INDEX
    compare(model, ids, targets, data.draw(st.sampled_from([BOS, None])), data.draw(st.integers(1, 5)))


@pytest.mark.parametrize("begin", [BOS, None])
@pytest.mark.parametrize("name", ["pico", "large"])
def test_gradients_of_the_familys_shapes(name: str, begin: int | None):
    recipe = Recipe.load(name)
    model = Llama(recipe.model, recipe.tokenizer.vocab_size)
    model.initialise(0)
    ids = torch.randint(4, recipe.tokenizer.vocab_size, (2, 250), generator=torch.Generator().manual_seed(0))
    ids[:, 50] = ids[:, 90] = BOS
    compare(model, ids, ids.roll(-1), begin, 2)


def test_an_impossible_target_has_a_finite_loss(tiny: Recipe):
    model = model_of(tiny.model, 40, 0)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(1000)
    ids = torch.randint(40, (1, 20), generator=torch.Generator().manual_seed(0))
    loss = CpuStep(model, ThreadTeam(1)).gradients(ids, ids.flip(1), None, 1.0)
    assert 100 * 20 < loss < np.inf


def test_what_is_not_finite_is_seen(tiny: Recipe):
    """By it a diverging training is recognised."""
    model = model_of(tiny.model, 40, 0)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")  # pyright: ignore
    ids = torch.randint(40, (1, 20), generator=torch.Generator().manual_seed(0))
    step = CpuStep(model, ThreadTeam(1))
    assert np.isnan(step.gradients(ids, ids, None, 1.0)) and step.gradient.norm().isnan()
