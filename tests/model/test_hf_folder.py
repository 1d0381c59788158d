import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aurelius.errors import AureliusError
from aurelius.model.hf_folder import LlamaFolder
from aurelius.model.weight_names import EMBEDDING, HEAD


@pytest.fixture
def folder(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run / "export/huggingface", tmp_path / "copy"))


def change(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({k: v for k, v in (config | values).items() if v is not ...})
    )


def test_an_exported_folder_is_read_completely(tiny, folder: Path):
    found = LlamaFolder.read(folder)
    assert found.shape == tiny.model and found.vocab_size == 420
    assert sum(value.size for value in found.weights.values()) == tiny.parameters


def test_a_foreign_folder_is_read(stories260k: Path):
    """llama2.c's model (MIT), as its author shaped it: 5 layers of 64, 8 heads, 4 key and value heads."""
    found = LlamaFolder.read(stories260k)
    assert (found.shape.layers, found.shape.d_model, found.shape.kv_heads) == (5, 64, 4)
    assert sum(value.size for value in found.weights.values()) == 260_032


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2'; only 'llama'"),
        ({"attention_bias": True}, "attention_bias True; only False"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings False"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}}, "rotary positions (yarn)"),
        ({"hidden_size": ...}, "lacks 'hidden_size'"),
        ({"num_attention_heads": 5}, "heads 5 does not divide d_model 32"),
        ({"head_dim": 16}, "head_dim 16"),
        ({"vocab_size": 400}, "embed_tokens.weight is [420, 32], config.json says [400, 32]"),
        ({"intermediate_size": 64}, "config.json says [64, 32]"),
        ({"num_hidden_layers": 3}, "lacks 9 weights that config.json calls for: model.layers.2"),
        ({"num_hidden_layers": 1}, "9 weights that config.json does not mention"),
    ],
)
def test_unsupported_llamas_are_refused(folder: Path, broken: dict, words: str):
    change(folder, **broken)
    with pytest.raises(AureliusError) as caught:
        LlamaFolder.read(folder)
    assert words in str(caught.value) and str(folder) in str(caught.value)


def test_a_tokenizer_of_another_model_is_refused(folder: Path):
    weights = load_file(folder / "model.safetensors")
    weights[EMBEDDING] = weights[EMBEDDING][:400]
    save_file(weights, folder / "model.safetensors")
    change(folder, vocab_size=400)
    with pytest.raises(AureliusError, match="has token 419, but the model has only 400"):
        LlamaFolder.read(folder)


def test_a_separate_head_is_refused_but_not_a_copy_of_the_embedding(folder: Path):
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {HEAD: weights[EMBEDDING].copy()}, folder / "model.safetensors")
    assert HEAD not in LlamaFolder.read(folder).weights
    save_file(weights | {HEAD: weights[EMBEDDING] + np.float32(1)}, folder / "model.safetensors")
    with pytest.raises(AureliusError, match="a separate head"):
        LlamaFolder.read(folder)


def test_a_damaged_file_is_named(folder: Path):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(AureliusError, match=r"model\.safetensors cannot be read"):
        LlamaFolder.read(folder)
