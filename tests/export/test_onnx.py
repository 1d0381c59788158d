"""The ONNX files in ONNX Runtime, against stock transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import AutoModelForCausalLM

from aurelius.export import onnx_graph
from aurelius.export.onnx import FILES
from aurelius.model.hf_folder import LlamaFolder

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def source(tiny_run: Path) -> LlamaFolder:
    return LlamaFolder.read(tiny_run / "export/huggingface")


@pytest.fixture(scope="module")
def stock(source: LlamaFolder):
    return AutoModelForCausalLM.from_pretrained(source.path).eval()


def session(source: LlamaFolder, kind: str, as_written: bool = False):
    options = onnxruntime.SessionOptions()
    if as_written:  # else what is multiplied with int8 and int4 may be rounded too, for speed
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(onnx_graph.build(source, kind).SerializeToString(), options)


def feed(source: LlamaFolder, ids: np.ndarray, past: list[np.ndarray] | None = None, mask=None) -> dict:
    B, T = ids.shape
    shape = source.shape
    past = past or [np.zeros((B, shape.kv_heads, 0, shape.head_dim), np.float32)] * 2 * shape.layers
    seen = past[0].shape[2]
    mask = np.ones((B, seen + T), np.int64) if mask is None else mask
    positions = (mask.cumsum(1) - 1).clip(0)[:, -T:]
    names = [f"past_key_values.{n}.{part}" for n in range(shape.layers) for part in ("key", "value")]
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    return given | dict(zip(names, past, strict=True))


def test_logits_are_those_of_transformers_whole_and_with_a_cache(source: LlamaFolder, stock):
    model, ids = session(source, "fp32"), np.random.default_rng(0).integers(4, 420, (2, 40))
    with torch.no_grad():
        expected = stock(torch.from_numpy(ids)).logits.numpy()
    whole, *_ = model.run(None, feed(source, ids))
    first, *past = model.run(None, feed(source, ids[:, :25]))
    rest = []
    for at in range(25, 40):
        row, *past = model.run(None, feed(source, ids[:, at : at + 1], past))
        rest.append(row)
    assert np.abs(whole - expected).max() < 1e-4
    assert np.abs(np.concatenate((first, *rest), 1) - expected).max() < 1e-4


def test_padding_on_the_left_changes_nothing(source: LlamaFolder, stock):
    model, ids = session(source, "fp32"), np.random.default_rng(1).integers(4, 420, (1, 12))
    padded = np.concatenate((np.ones((1, 5), np.int64), ids), 1)
    mask = np.concatenate((np.zeros((1, 5), np.int64), np.ones((1, 12), np.int64)), 1)
    plain, *_ = model.run(None, feed(source, ids))
    found, *_ = model.run(None, feed(source, padded, mask=mask))
    assert np.abs(found[:, 5:] - plain).max() < 1e-4
    assert np.isfinite(found).all()


def test_names_and_shapes_are_those_of_optimum(source: LlamaFolder):
    model = session(source, "fp32")
    names = [f"{n}.{part}" for n in range(2) for part in ("key", "value")]
    assert [i.name for i in model.get_inputs()] == [
        "input_ids",
        "attention_mask",
        "position_ids",
        *(f"past_key_values.{name}" for name in names),
    ]
    assert [o.name for o in model.get_outputs()] == ["logits", *(f"present.{name}" for name in names)]


@pytest.mark.parametrize("kind", ["fp16", "int8", "q4"])
def test_smaller_files_compute_with_the_rounded_weights(source: LlamaFolder, stock, kind: str):
    """The file's logits are those of stock transformers with the same rounded weights."""
    ids = np.random.default_rng(2).integers(4, 420, (1, 30))
    rounded = AutoModelForCausalLM.from_pretrained(source.path).eval()
    for name, parameter in rounded.named_parameters():
        if parameter.ndim == 2:
            value = parameter.detach().numpy()
            embedding = name == onnx_graph.EMBEDDING
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(as_stored(value, kind, embedding)))
    with torch.no_grad():
        expected = rounded(torch.from_numpy(ids)).logits.numpy()
        exact = stock(torch.from_numpy(ids)).logits.numpy()
    found, *_ = session(source, kind, as_written=True).run(None, feed(source, ids))
    assert np.abs(found - expected).max() < 1e-4
    assert np.abs(found - exact).max() > 1e-6, "it was rounded at all"


def as_stored(value: np.ndarray, kind: str, embedding: bool) -> np.ndarray:
    """Round a published matrix [outputs, inputs] as the file's kind does, written anew."""
    if kind == "fp16":
        return value.astype(np.float16).astype(np.float32)
    if kind == "int8" or embedding:
        scale = np.abs(value).max(1, keepdims=True) / 127
        return np.round(value / scale) * scale
    out = np.empty_like(value)
    for row in range(len(value)):
        for first in range(0, value.shape[1], 32):
            block = value[row, first : first + 32]
            scale = block[np.abs(block).argmax()] / -8
            out[row, first : first + 32] = np.clip(np.round(block / scale), -8, 7) * scale
    return out


@given(
    arrays(np.float32, st.tuples(st.integers(1, 70), st.integers(1, 4)), elements=st.floats(-4, 4, width=16))
)
def test_four_bits_are_within_a_step(value):
    stored, scale = onnx_graph.int4(value)
    assert stored.min() >= -8 and stored.max() <= 7
    back = stored * np.repeat(scale, 32, 0)[: len(value)]
    step = np.repeat(np.abs(scale), 32, 0)[: len(value)]
    assert (np.abs(back - value) <= step + 1e-6).all()


def test_an_onnx_folder_has_tokenizer_and_configurations(source: LlamaFolder, tmp_path: Path):
    onnx_graph.write(source, tmp_path, {"int8": FILES["int8"]})
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert found == sorted([*onnx_graph.COMPANIONS, "onnx/model_quantized.onnx"])
