"""The gradients written by hand against those that autograd makes of the plain operations."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aurelius.config.recipe import Recipe
from aurelius.model import cpu_kernels
from aurelius.model.llama import Llama, rope_table, rotate
from aurelius.special_tokens import BOS, IGNORE_INDEX


def agree(ours: Tensor, plain: Tensor, *inputs: Tensor) -> None:
    """Compare two results, and their gradients under a random direction."""
    direction = torch.randn_like(plain)
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    mine = torch.autograd.grad((ours * direction).sum(), inputs)
    theirs = torch.autograd.grad((plain * direction).sum(), inputs)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5 * (1 + float(b.abs().max())))


@settings(max_examples=30)
@given(
    st.integers(1, 3),
    st.sampled_from([1, 2, 7, 103, 104, 105, 209, 250]),
    st.integers(1, 2),
    st.integers(1, 3),
    st.booleans(),
)
def test_attention(batch: int, length: int, kv_heads: int, group: int, apart: bool):
    torch.manual_seed(length)
    E, heads = 8, kv_heads * group
    shape = Recipe.load("pico").model.model_copy(update={"d_model": heads * E, "heads": heads})
    rope = rope_table(shape)[:, :length]
    qkv = torch.randn(batch, length, (heads + 2 * kv_heads) * E, requires_grad=True)
    q, k, v = qkv.view(batch, length, -1, E).split((heads, kv_heads, kv_heads), 2)
    q, k, v = rotate(q, rope).transpose(1, 2), rotate(k, rope).transpose(1, 2), v.transpose(1, 2)
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    mask = torch.ones(batch, 1, length, length, dtype=torch.bool).tril()
    story = None
    if apart:
        story = (torch.rand(batch, length) < 0.05).cumsum(1)
        mask &= (story[:, :, None] == story[:, None]).unsqueeze(1)
    plain = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    agree(
        cpu_kernels.attention(qkv, rope, heads, kv_heads, cpu_kernels.spans(batch, length, kv_heads, story)),
        plain.transpose(1, 2).reshape(batch, length, -1),
        qkv,
    )


def test_norm():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 16, requires_grad=True)
    weight = torch.randn(16, requires_grad=True)
    agree(cpu_kernels.rms_norm(x, weight, 1e-5), F.rms_norm(x, (16,), weight, 1e-5), x, weight)


def test_head_loss():
    torch.manual_seed(0)
    x, weight = torch.randn(30, 16, requires_grad=True), torch.randn(50, 16, requires_grad=True)
    targets = torch.randint(0, 50, (30,))
    targets[::4] = IGNORE_INDEX
    plain = F.cross_entropy(x @ weight.T, targets, reduction="sum")
    agree(cpu_kernels.head_loss(x, weight, targets), plain, x, weight)


def test_an_impossible_target_has_a_finite_loss():
    x = torch.tensor([[300.0]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    loss = cpu_kernels.head_loss(x, weight, torch.tensor([1]))
    loss.backward()
    assert 87 < loss.item() < 88 and x.grad is not None and x.grad.item() == pytest.approx(2.0)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", ["pico", "large"])
def test_the_whole_model(name: str, apart: bool, monkeypatch: pytest.MonkeyPatch):
    recipe = Recipe.load(name)
    model = Llama(recipe.model, recipe.tokenizer.vocab_size)
    model.initialise(0)
    ids = torch.randint(0, recipe.tokenizer.vocab_size, (2, 120))
    ids[:, 50] = ids[:, 90] = BOS
    parameters = list(model.parameters())
    loss = model.loss(ids, ids, BOS if apart else None)
    mine = torch.autograd.grad(loss, parameters)
    monkeypatch.setattr(cpu_kernels, "applies", lambda x: False)
    plain = model.loss(ids, ids, BOS if apart else None)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    for a, b in zip(mine, torch.autograd.grad(plain, parameters), strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()
