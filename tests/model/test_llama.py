import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from aurelius.config import shipped as recipes
from aurelius.config.recipe import Recipe
from aurelius.export.huggingface import config
from aurelius.model.llama import Llama
from aurelius.special_tokens import IGNORE_INDEX


def random_llama(recipe: Recipe) -> Llama:
    """Return a model with random weights that are large enough to matter."""
    model = Llama(recipe.model, recipe.tokenizer.vocab_size).eval()
    model.initialise(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3 if parameter.ndim == 2 else 1 + 0.1 * torch.randn_like(parameter))
    return model


def pair(recipe: Recipe) -> tuple[Llama, LlamaForCausalLM]:
    """Return our model and the stock one with the same random weights."""
    ours = random_llama(recipe)
    stock = LlamaForCausalLM(LlamaConfig(**config(recipe))).eval()
    missing, unexpected = stock.load_state_dict(ours.state_dict(), strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], []), "tied: the head is the embedding"
    stock.tie_weights()
    return ours, stock


@pytest.mark.parametrize("name", recipes.NAMES)
@torch.no_grad()
def test_logits_equal_stock_llama(name: str):
    recipe = Recipe.load(name)
    ours, stock = pair(recipe)
    assert sum(p.numel() for p in ours.parameters()) == stock.num_parameters() == recipe.parameters
    ids = torch.randint(0, recipe.tokenizer.vocab_size, (2, recipe.model.context))
    expected = stock(ids).logits
    difference = (ours(ids) - expected).abs().max()
    assert difference <= 1e-5 * max(1.0, float(expected.abs().max()))


@torch.no_grad()
def test_attention_is_causal(tiny: Recipe):
    ours, _ = pair(tiny)
    ids = torch.randint(0, 400, (1, 20))
    other = ids.clone()
    other[0, 12] += 1
    assert torch.equal(ours(ids)[:, :12], ours(other)[:, :12])
    assert not torch.equal(ours(ids)[:, 12:], ours(other)[:, 12:])


def test_loss_is_summed_over_the_targets_that_count(tiny: Recipe):
    ours, stock = pair(tiny)
    ids = torch.randint(4, 400, (3, 20))
    targets = torch.randint(4, 400, (3, 20))
    targets[:, ::3] = IGNORE_INDEX
    counted = stock(ids).logits.log_softmax(-1).gather(2, targets.clamp(min=0)[..., None])[..., 0]
    expected = -counted[targets != IGNORE_INDEX].sum()
    assert torch.isclose(ours.loss(ids, targets), expected, rtol=1e-5)


def test_initial_weights_follow_the_seed_and_predict_evenly(tiny: Recipe):
    a, b, c = (Llama(tiny.model, 420) for _ in range(3))
    for model, seed in ((a, 0), (b, 0), (c, 1)):
        model.initialise(seed)
    weight = "model.layers.1.mlp.up_proj.weight"
    assert torch.equal(a.state_dict()[weight], b.state_dict()[weight])
    assert not torch.equal(a.state_dict()[weight], c.state_dict()[weight])
    ids = torch.randint(4, 420, (4, 48))
    # Not of the inputs themselves: tied weights make a token likelier where it stands.
    loss = a.loss(ids, ids.flip(1)).item() / ids.numel()
    assert loss == pytest.approx(math.log(420), abs=0.2)
