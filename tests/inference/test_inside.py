"""What our own PyTorch model shows of itself, beside stock transformers."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, CohereConfig, Gemma2Config, GraniteConfig, PretrainedConfig

from aurelius.errors import ModelError
from aurelius.inference.language_model import InspectableModel
from aurelius.inference.open_model import open_model
from aurelius.inference.run_model import RunModel
from aurelius.inference.transformers_model import TransformersModel

SMALL: dict[str, Any] = {
    "vocab_size": 420, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8,
    "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 48, "pad_token_id": 2,
    "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tiny_run: Path) -> list[InspectableModel]:
    """Return the same model three times: ours, stock, and the one that is opened for an exported folder."""
    folder = str(tiny_run / "export/huggingface")
    return [RunModel(tiny_run, "cpu"), TransformersModel(folder, "cpu"), open_model(folder, "cpu")]


@pytest.fixture
def ids() -> Tensor:
    return torch.cat((torch.tensor([[3, 0]] * 3), torch.randint(4, 420, (3, 40))), 1)


def test_hidden_states_and_attention_are_those_of_stock_transformers(
    models: list[InspectableModel], ids: Tensor
):
    ours, *others = (model.inside(ids) for model in models)
    assert ours.hidden.shape == (3, 3, 42, 32) and ours.attention.shape == (2, 3, 4, 42, 42)
    for other in others:
        assert torch.allclose(ours.hidden, other.hidden, rtol=0, atol=1e-5)
        assert torch.allclose(ours.attention, other.attention, rtol=0, atol=1e-5)


def test_the_last_hidden_states_times_the_head_are_the_logits(models: list[InspectableModel], ids: Tensor):
    for model in models:
        inside, head = model.inside(ids), model.head()
        assert head.shape == (420, 32)
        assert torch.allclose(inside.hidden[-1] @ head.T, model.logits(ids), rtol=0, atol=1e-5)


def test_attention_is_shared_among_the_past(models: list[InspectableModel], ids: Tensor):
    for model in models:
        attention = model.inside(ids).attention
        assert torch.allclose(attention.sum(-1), torch.ones(2, 3, 4, 42))
        assert not attention.triu(1).any()


def test_looking_changes_nothing(models: list[InspectableModel], ids: Tensor):
    for model in models:
        before = model.logits(ids)
        model.inside(ids)
        assert torch.equal(model.logits(ids), before) and not model.head().requires_grad
    stock = models[1]
    assert isinstance(stock, TransformersModel) and stock.model.config._attn_implementation == "sdpa"


def test_a_head_with_a_bias_is_refused(tiny_run: Path, monkeypatch: pytest.MonkeyPatch):
    model = TransformersModel(str(tiny_run / "export/huggingface"), "cpu")
    for head in (torch.nn.Linear(32, 420), None):
        monkeypatch.setattr(model.model, "get_output_embeddings", lambda head=head: head)
        with pytest.raises(ModelError, match="a head that is more than one matrix"):
            model.head()


@pytest.mark.parametrize(
    "config",
    [
        GraniteConfig(**SMALL, logits_scaling=8.0),
        CohereConfig(**SMALL, logit_scale=0.0625),
        Gemma2Config(**SMALL, final_logit_softcapping=0.1),
    ],
    ids=lambda config: config.model_type,
)
def test_a_head_that_does_more_than_multiply_is_refused(
    config: PretrainedConfig, tiny_run: Path, tmp_path: Path
):
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_run / "export/huggingface" / name, tmp_path)
    model = TransformersModel(str(tmp_path), "cpu")
    with pytest.raises(ModelError, match="head"):
        model.head()
