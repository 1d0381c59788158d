"""GGUF files, read back with the format's own library; llama.cpp itself is in test_runtimes.py."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, dequantize

from aurelius.config.recipe import Recipe
from aurelius.errors import AureliusError, ModelError
from aurelius.export import gguf, gguf_file
from aurelius.model.hf_folder import LlamaFolder
from aurelius.pipeline.run import run


@pytest.fixture(scope="module")
def source(tiny_run: Path) -> LlamaFolder:
    return LlamaFolder.read(tiny_run / "export/huggingface")


def test_what_is_written_is_the_model(tiny, source: LlamaFolder, tmp_path: Path):
    left = gguf_file.write(source, tmp_path, "tiny", ("F32",))
    reader = GGUFReader(tmp_path / "tiny-F32.gguf")
    value = {name: field.contents() for name, field in reader.fields.items()}
    assert left == []
    assert value["general.architecture"] == "llama"
    assert value["llama.rope.freq_base"] == tiny.model.rope_theta
    assert value["llama.context_length"] == 48 and value["llama.attention.head_count_kv"] == 2
    assert value["tokenizer.ggml.add_space_prefix"] is False
    assert value["tokenizer.ggml.bos_token_id"] == 3 and value["tokenizer.ggml.eos_token_id"] == 1
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == len(source.weights)
    assert np.array_equal(tensors["token_embd.weight"].data, source.weights["model.embed_tokens.weight"])
    q = source.weights["model.layers.0.self_attn.q_proj.weight"]  # 4 heads of 8: halves become neighbours
    order = [head * 8 + half * 4 + i for head in range(4) for i in range(4) for half in range(2)]
    assert np.array_equal(tensors["blk.0.attn_q.weight"].data, q[order])


def test_rounded_types_are_near(source: LlamaFolder, tmp_path: Path):
    wide = {name: np.tile(w, (1, 2)) if w.ndim == 2 else w for name, w in source.weights.items()}
    shape = source.shape.model_copy(update={"d_mlp": 96, "d_model": 64, "heads": 4})
    model = replace(source, shape=shape, weights=wide)
    assert gguf_file.write(model, tmp_path, "wide") == []
    for kind, most in (("F16", 1e-3), ("Q8_0", 1e-2), ("Q4_0", 0.15)):
        tensor = {t.name: t for t in GGUFReader(tmp_path / f"wide-{kind}.gguf").tensors}["token_embd.weight"]
        found, expected = dequantize(tensor.data, tensor.tensor_type), wide["model.embed_tokens.weight"]
        assert np.abs(found - expected).max() <= most * np.abs(expected).max()


def test_a_type_that_does_not_fit_the_shape(source: LlamaFolder, tmp_path: Path):
    """`tiny` has an MLP of 48: 8 and 4 bits are left out, or refused where they were asked for."""
    left = gguf_file.write(source, tmp_path, "tiny")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-F16.gguf", "tiny-F32.gguf"]
    assert len(left) == 2 and "model.d_mlp is 48" in left[0]
    with pytest.raises(ModelError, match="Q8_0 stores 32 weights together"):
        gguf_file.write(source, tmp_path / "other", "tiny", ("Q8_0",))
    assert not (tmp_path / "other").exists()


def test_the_cards_shape_is_referred_to_large_portable(source: LlamaFolder):
    for name, problem in (("large", "the recipe large-portable has 992"), ("large-portable", "")):
        found = gguf.misfit(Recipe.load(name).model, "Q8_0")
        assert problem in found and bool(problem) == bool(found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"export.gguf": ["F32", "Q8_0"], "model.d_mlp": 1008}, "the recipe large-portable has 992"),
        ({"tokenizer.normalizer": "reference"}, "llama.cpp has no normalizer"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_done(
    tmp_path: Path, settings: dict[str, object], words: str
):
    with pytest.raises(AureliusError, match=words):
        run("pico", tmp_path / "run", overrides=settings, to=["gguf"])
    assert not (tmp_path / "run" / "recipe.toml").exists()


def test_a_tokenizer_that_llama_cpp_cannot_follow_is_refused(
    tiny_run: Path, stories260k: Path, tmp_path: Path
):
    copy = Path(shutil.copytree(tiny_run / "export/huggingface", tmp_path / "copy"))
    rules = json.loads((copy / "tokenizer.json").read_text())
    rules["normalizer"]["normalizers"][0]["pattern"]["Regex"] = "$"
    (copy / "tokenizer.json").write_text(json.dumps(rules))
    for folder, words in (
        (copy, "reference normalizer"),
        (stories260k, "not a tokenizer that Aurelius made"),
    ):
        with pytest.raises(AureliusError, match=words):
            gguf_file.write(LlamaFolder.read(folder), tmp_path / "out", "x")
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_where_it_is_needed(tiny_run: Path, tmp_path: Path, monkeypatch):
    done = Path(shutil.copytree(tiny_run, tmp_path / "done"))
    run(done, overrides={"export.gguf": ["F32"]}, to=["gguf"])
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.delitem(sys.modules, "aurelius.export.gguf_file", raising=False)
    with pytest.raises(AureliusError, match=r"pip install 'aurelius-lm\[gguf\]'"):
        run("pico", tmp_path / "run", to=["gguf"])
    assert not (tmp_path / "run" / "recipe.toml").exists()
    assert run(done).done == [], "what is written already needs no package"
