import pytest
import torch

from aurelius.config.recipe import Recipe
from aurelius.model.llama import Llama
from aurelius.training.optim.registry import build, groups, load_state_tensors, state_tensors


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_every_parameter_has_one_group_and_norms_do_not_decay(tiny: Recipe, optimizer: str):
    model = Llama(tiny.model, 420)
    recipe = tiny.with_(**{"optimizer.name": optimizer}).optimizer
    found = [(p, g) for g in groups(build(model, recipe)) for p in g["params"]]
    assert len(found) == len({id(p) for p, _ in found}) == len(list(model.parameters()))
    assert all((g["weight_decay"] == 0) == (p.ndim == 1) for p, g in found)


def test_optimizer_state_goes_through_tensors(tiny: Recipe):
    def trained(steps: int):
        torch.manual_seed(0)
        model = Llama(tiny.model, 420)
        model.initialise(0)
        optimizers = build(model, tiny.optimizer)
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
    fresh = build(other, tiny.optimizer)
    load_state_tensors(other, fresh, state_tensors(half, half_optimizers))
    advance(other, fresh, 3, 6)
    for a, b in zip(whole.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
