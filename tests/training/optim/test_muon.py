import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aurelius.config.recipe import Recipe
from aurelius.model.llama import Llama
from aurelius.training.optim.muon import HeadGrid, Muon, join_heads, orthogonal, split_heads
from aurelius.training.optim.registry import build


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 16, 64)])
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


def test_each_head_is_orthogonalised_separately():
    """As if it were a parameter of its own, whether heads are stacked below or next to each other."""

    def trained(values: list[torch.Tensor], cut: HeadGrid, turned: bool = False) -> list[torch.Tensor]:
        parameters = [torch.nn.Parameter(value.clone()) for value in values]
        optimizer = Muon([{"params": parameters, "heads": cut}], 0.02, 0.1, 0.95)
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


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_joining_heads_undoes_splitting(down: int, across: int, rows: int, columns: int):
    matrix = torch.randn(down * rows, across * columns)
    heads = split_heads(matrix, (down, across))
    assert heads.shape == (down * across, min(rows, columns), max(rows, columns))
    assert torch.equal(join_heads(heads, matrix.shape, (down, across)), matrix)


def test_the_heads_of_a_model(tiny: Recipe):
    """Queries and the output have 4 heads, keys and values 2; the MLP has none."""
    model = Llama(tiny.model, 420)
    muon = build(model, tiny.optimizer)[0]
    names = {parameter: name.split(".")[-2] for name, parameter in model.named_parameters()}
    cuts = {names[p]: group["heads"] for group in muon.param_groups for p in group["params"]}
    assert cuts == {
        **{"q_proj": (4, 1), "k_proj": (2, 1), "v_proj": (2, 1), "o_proj": (1, 4)},
        **{"gate_proj": (1, 1), "up_proj": (1, 1), "down_proj": (1, 1)},
    }
