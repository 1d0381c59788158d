from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aurelius.config.recipe import Recipe
from aurelius.model.llama import Llama
from aurelius.training.cpu_threads import Workers
from aurelius.training.optim import (
    Muon,
    build,
    groups,
    load_state_tensors,
    orthogonal,
    rate,
    state_tensors,
)


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 16, 64), (2, 64, 16)])
def test_singular_values_end_near_one(shape: tuple[int, ...]):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    for matrix, found in zip(matrices, orthogonal(matrices), strict=True):
        values = torch.linalg.svdvals(found)
        assert float(values.min()) > 0.4 and float(values.max()) < 1.25
        # The directions stay: U^T O V is near the diagonal.
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        core = u.T @ found @ v.T
        assert (core - core.diag().diag()).abs().max() < 1e-3


def test_muon_is_pytorchs_up_to_its_bf16():
    torch.manual_seed(0)
    start = [torch.randn(24, 16), torch.randn(16, 24), torch.randn(16, 16)]
    ours = [torch.nn.Parameter(t.clone()) for t in start]
    theirs = [torch.nn.Parameter(t.clone()) for t in start]
    pairs = (Muon(ours, 0.02, 0.1, 0.95), torch.optim.Muon(theirs, 0.02, weight_decay=0.1))
    for step in range(4):
        torch.manual_seed(step)
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        for optimizer in pairs:
            optimizer.step()
    for a, b, s in zip(ours, theirs, start, strict=True):
        assert (a - b).abs().max() < 0.02 * (a - s).abs().max(), "bf16 has two to three digits"
        assert pairs[0].state[a]["momentum_buffer"].allclose(pairs[1].state[b]["momentum_buffer"])


@pytest.mark.parametrize("workers", [None, Workers(2)])
def test_heads_are_matrices_of_their_own(workers: Workers | None):
    """As though they were parameters of their own; heads side by side as those below each other."""

    def trained(values: list[torch.Tensor], cut: tuple[int, int], turned: bool = False) -> list[torch.Tensor]:
        parameters = [torch.nn.Parameter(value.clone()) for value in values]
        optimizer = Muon([{"params": parameters, "cut": cut}], 0.02, 0.1, 0.95, workers)
        for step in range(3):
            gradient = torch.randn(16, 16, generator=torch.Generator().manual_seed(step))
            parts = gradient.mT if turned else gradient
            for p, part in zip(parameters, parts.split([len(p) for p in parameters]), strict=True):
                p.grad = part.clone()
            optimizer.step()
        return [p.detach() for p in parameters]

    whole = torch.randn(16, 16)
    (together,) = trained([whole], (4, 1))
    apart = trained(list(whole.split(4)), (1, 1))
    (turned,) = trained([whole.mT.contiguous()], (1, 4), turned=True)
    torch.testing.assert_close(together, torch.cat(apart))
    torch.testing.assert_close(together, turned.mT)
    assert (together - trained([whole], (1, 1))[0]).abs().max() > 1e-3


def test_the_heads_of_a_model(tiny: Recipe):
    """Queries and the output have 4 heads, keys and values 2; the MLP has none."""
    model = Llama(tiny.model, 420)
    muon = build(model, tiny.training)[0]
    names = {parameter: name.split(".")[-2] for name, parameter in model.named_parameters()}
    cuts = {names[p]: group["cut"] for group in muon.param_groups for p in group["params"]}
    assert cuts == {
        **{"q_proj": (4, 1), "k_proj": (2, 1), "v_proj": (2, 1), "o_proj": (1, 4)},
        **{"gate_proj": (1, 1), "up_proj": (1, 1), "down_proj": (1, 1)},
    }


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_every_parameter_has_one_group_and_norms_do_not_decay(tiny: Recipe, optimizer: str):
    model = Llama(tiny.model, 420)
    recipe = tiny.with_(**{"training.optimizer": optimizer}).training
    found = [(p, g) for g in groups(build(model, recipe)) for p in g["params"]]
    assert len(found) == len({id(p) for p, _ in found}) == len(list(model.parameters()))
    assert all((g["weight_decay"] == 0) == (p.ndim == 1) for p, g in found)


def test_optimizer_state_goes_through_tensors(tiny: Recipe):
    def trained(steps: int):
        torch.manual_seed(0)
        model = Llama(tiny.model, 420)
        model.initialise(0)
        optimizers = build(model, tiny.training)
        advance(model, optimizers, 0, steps)
        return model, optimizers

    def advance(model, optimizers, first, last):
        for step in range(first, last):
            ids = torch.randint(4, 420, (2, 16), generator=torch.Generator().manual_seed(step))
            model.loss(ids, ids).backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()

    whole, _ = trained(6)
    half, half_optimizers = trained(3)
    other = Llama(tiny.model, 420)
    other.load_state_dict(half.state_dict())
    fresh = build(other, tiny.training)
    load_state_tensors(other, fresh, state_tensors(half, half_optimizers))
    advance(other, fresh, 3, 6)
    for a, b in zip(whole.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@given(st.integers(1, 5000), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 1))
def test_the_rate_rises_stays_and_falls(steps: int, warmup: float, decay: float, final: float):
    recipe = Recipe.load("nano", {"training.steps": steps, "training.warmup": warmup}).training
    recipe = recipe.model_copy(update={"decay": decay, "final_rate": final})
    rates = [rate(step, recipe) for step in range(steps)]
    assert all(0 < r <= 1 for r in rates)
    peak = rates.index(max(rates))
    assert all(a <= b for a, b in pairwise(rates[: peak + 1]))
    assert all(a >= b - 1e-12 for a, b in pairwise(rates[peak:]))


def test_the_rate_at_its_corners():
    recipe = Recipe.load("nano", {"training.steps": 100}).training
    recipe = recipe.model_copy(update={"warmup": 0.1, "decay": 0.2, "final_rate": 0.1})
    assert rate(0, recipe) == pytest.approx(1 / 11)
    assert rate(10, recipe) == rate(79, recipe) == 1
    assert rate(90, recipe) == pytest.approx(0.55)
    assert rate(99, recipe) == pytest.approx(0.145)
