"""Writing a Llama with its KV cache as ONNX, as transformers.js and ONNX Runtime load it.

One graph of standard operators (opset 21, https://onnx.ai/onnx/operators/). All files compute in float32;
they differ in how they store the matrices:

    model.onnx            float32
    model_fp16.onnx       float16
    model_quantized.onnx  int8, one scale per row of a matrix
    model_q4.onnx         int4, one scale per 32 inputs; the embedding, which is also the head, in int8

Inputs: ``input_ids``, ``position_ids`` [B, T] and ``attention_mask`` [B, P + T] (int64), and for each layer
``past_key_values.N.key`` and ``.value`` [B, K, P, E], where P may be 0. Outputs: ``logits`` [B, T, V] and
``present.N.key`` and ``.value`` [B, K, P + T, E]. The names are those of Optimum.

Shapes: B batch, T new positions, P past positions, S = P + T, H query heads, K key/value heads, E head_dim.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from aurelius import __version__
from aurelius.files import write_bytes
from aurelius.model.hf_folder import LlamaFolder
from aurelius.model.weight_names import (
    ATTENTION_NORM,
    DOWN,
    EMBEDDING,
    FINAL_NORM,
    GATE,
    MLP_NORM,
    UP,
    K,
    O,
    Q,
    V,
    layer_weight,
)

OPSET, IR = 21, 10
BLOCK = 32  # inputs that share a scale in q4
MASKED = float(np.finfo(np.float32).min)  # finite: a row of padding only must not become NaN
COMPANIONS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def write(source: LlamaFolder, out: Path, files: Mapping[str, str]) -> None:
    """Write ``out/onnx/*.onnx`` and the tokenizer and configurations that are used with them.

    ``files`` maps each kind to write to its file name, without the extension.
    """
    for name in COMPANIONS:
        write_bytes(out / name, (source.path / name).read_bytes())
    for kind, name in files.items():
        content = build(source, kind).SerializeToString(deterministic=True)
        write_bytes(out / "onnx" / f"{name}.onnx", content)


def build(source: LlamaFolder, kind: str = "fp32") -> ModelProto:
    """Return the model with its matrices stored as ``kind``."""
    shape, kv, E = source.shape, source.shape.kv_heads, source.shape.head_dim
    graph = Graph(source, kind)
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "new"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "all"]),
        helper.make_tensor_value_info("position_ids", TensorProto.INT64, ["batch", "new"]),
    ]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "new", source.vocab_size])
    ]
    for layer in range(shape.layers):
        for part in ("key", "value"):
            past, present = f"past_key_values.{layer}.{part}", f"present.{layer}.{part}"
            inputs.append(helper.make_tensor_value_info(past, TensorProto.FLOAT, ["batch", kv, "past", E]))
            outputs.append(helper.make_tensor_value_info(present, TensorProto.FLOAT, ["batch", kv, "all", E]))

    embedding = graph.matrix(EMBEDDING)
    x = graph("Gather", embedding, "input_ids")
    rope, mask = _rope(graph), _mask(graph)
    for layer in range(shape.layers):
        x = _layer(graph, x, layer, rope, mask)
    x = _norm(graph, x, FINAL_NORM)
    graph("MatMul", x, graph("Transpose", embedding, perm=[1, 0]), name="logits")

    llama = helper.make_graph(graph.nodes, "llama", inputs, outputs, graph.constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(llama, opset_imports=[opset], ir_version=IR, producer_name="aurelius")
    model.producer_version = __version__
    checker.check_model(model, full_check=True)
    return model


class Graph:
    """Nodes and constants of a graph; calling it adds a node and returns the name of its output."""

    def __init__(self, source: LlamaFolder, kind: str):
        self.source, self.kind = source, kind
        self.nodes: list[Any] = []
        self.constants: list[TensorProto] = []

    def __call__(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        name = name or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def split(self, x: str) -> tuple[str, str]:
        """Halve the last axis."""
        names = [f"Split_{len(self.nodes)}_{half}" for half in ("low", "high")]
        self.nodes.append(helper.make_node("Split", [x], names, name=names[0], axis=-1, num_outputs=2))
        return names[0], names[1]

    def constant(self, value: Any, name: str = "") -> str:
        """Add a constant: an array, a float (float32) or integers (int64)."""
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        if not isinstance(value, np.ndarray):
            array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def matrix(self, name: str) -> str:
        """Add a matrix, stored as the file's kind: [V, D] for the embedding, else [inputs, outputs]."""
        embedding = name == EMBEDDING
        value = self.source.weights[name]
        value = value if embedding else np.ascontiguousarray(value.T)
        if self.kind == "fp32":
            return self.constant(value, name)
        if self.kind == "fp16":
            stored = self.constant(value.astype(np.float16), name)
            return self("Cast", stored, to=TensorProto.FLOAT)
        if self.kind == "int8" or embedding:
            axis = 1 - embedding  # of the rows of the published matrix
            scale = np.abs(value).max(1 - axis, keepdims=True) / 127 + 1e-12
            stored = np.round(value / scale).astype(np.int8)
            names = self.constant(stored, name), self.constant(scale.squeeze(1 - axis), f"{name}.scale")
            return self("DequantizeLinear", *names, axis=axis)
        stored, scale = int4(value)
        packed = helper.make_tensor(name, TensorProto.INT4, stored.shape, stored.flatten())
        self.constants.append(packed)
        scales = self.constant(scale, f"{name}.scale")
        return self("DequantizeLinear", name, scales, axis=0, block_size=BLOCK)


def int4(value: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a matrix [inputs, outputs] in -8 … 7 and the scales [inputs / 32 rounded up, outputs].

    The value farthest from zero becomes -8, as in llama.cpp's Q4_0.
    """
    rows, columns = value.shape
    blocks = math.ceil(rows / BLOCK)
    padded = np.zeros((blocks * BLOCK, columns), np.float32)
    padded[:rows] = value
    padded = padded.reshape(blocks, BLOCK, columns)
    at = np.abs(padded).argmax(1, keepdims=True)
    scale = np.take_along_axis(padded, at, 1) / -8
    scale[scale == 0] = 1
    stored = np.clip(np.round(padded / scale), -8, 7).astype(np.int8)
    return stored.reshape(-1, columns)[:rows], scale[:, 0].astype(np.float32)


def _rope(graph: Graph) -> tuple[str, str]:
    """Return cosines and sines [B, 1, T, E] of the rotary embedding at ``position_ids``."""
    shape = graph.source.shape
    half = 1.0 / shape.rope_theta ** (np.arange(0, shape.head_dim, 2, dtype=np.float32) / shape.head_dim)
    frequencies = graph.constant(np.concatenate((half, half)).astype(np.float32))
    positions = graph(
        "Cast", graph("Unsqueeze", "position_ids", graph.constant([1, 3])), to=TensorProto.FLOAT
    )
    angles = graph("Mul", positions, frequencies)
    return graph("Cos", angles), graph("Sin", angles)


def _mask(graph: Graph) -> str:
    """Return the attention mask that is added to the scores, [B, 1, 1, T, S]: 0 where a position attends."""
    zero, one = graph.constant(0), graph.constant(1)
    total = graph("Gather", graph("Shape", "attention_mask"), one)
    new = graph("Gather", graph("Shape", "input_ids"), one)
    column = graph("Range", zero, total, one)
    row = graph("Unsqueeze", graph("Range", graph("Sub", total, new), total, one), graph.constant([1]))
    causal = graph("LessOrEqual", column, row)  # [T, S]
    real = graph("Cast", graph("Unsqueeze", "attention_mask", graph.constant([1, 2, 3])), to=TensorProto.BOOL)
    return graph("Where", graph("And", real, causal), graph.constant(0.0), graph.constant(MASKED))


def _norm(graph: Graph, x: str, weight: str) -> str:
    square = graph("ReduceMean", graph("Mul", x, x), graph.constant([-1]), keepdims=1)
    root = graph("Sqrt", graph("Add", square, graph.constant(graph.source.shape.norm_eps)))
    return graph("Mul", graph("Div", x, root), graph.constant(graph.source.weights[weight], weight))


def _layer(graph: Graph, x: str, layer: int, rope: tuple[str, str], mask: str) -> str:
    shape = graph.source.shape
    H, kv, E = shape.heads, shape.kv_heads, shape.head_dim
    y = _norm(graph, x, layer_weight(layer, ATTENTION_NORM))

    def heads(part: str, count: int) -> str:
        flat = graph("MatMul", y, graph.matrix(layer_weight(layer, part)))
        split = graph("Reshape", flat, graph.constant([0, 0, count, E]))
        return graph("Transpose", split, perm=[0, 2, 1, 3])  # [B, H or K, T, E]

    def rotated(x: str) -> str:
        low, high = graph.split(x)
        crossed = graph("Concat", graph("Neg", high), low, axis=-1)
        return graph("Add", graph("Mul", x, rope[0]), graph("Mul", crossed, rope[1]))

    q, k, v = rotated(heads(Q, H)), rotated(heads(K, kv)), heads(V, kv)
    past = f"past_key_values.{layer}"
    k = graph("Concat", f"{past}.key", k, axis=2, name=f"present.{layer}.key")
    v = graph("Concat", f"{past}.value", v, axis=2, name=f"present.{layer}.value")
    # Queries of one group are next to each other, [B, K, H / K, T, E], and share a key and value head.
    q = graph("Reshape", q, graph.constant([0, kv, H // kv, -1, E]))
    k = graph("Transpose", graph("Unsqueeze", k, graph.constant([2])), perm=[0, 1, 2, 4, 3])
    v = graph("Unsqueeze", v, graph.constant([2]))
    scores = graph("Mul", graph("MatMul", q, k), graph.constant(1 / math.sqrt(E)))
    weights = graph("Softmax", graph("Add", scores, mask), axis=-1)
    y = graph("Reshape", graph("MatMul", weights, v), graph.constant([0, H, -1, E]))
    y = graph("Reshape", graph("Transpose", y, perm=[0, 2, 1, 3]), graph.constant([0, 0, H * E]))
    x = graph("Add", x, graph("MatMul", y, graph.matrix(layer_weight(layer, O))))

    y = _norm(graph, x, layer_weight(layer, MLP_NORM))
    gate = graph("MatMul", y, graph.matrix(layer_weight(layer, GATE)))
    up = graph("MatMul", y, graph.matrix(layer_weight(layer, UP)))
    y = graph("Mul", graph("Mul", gate, graph("Sigmoid", gate)), up)
    return graph("Add", x, graph("MatMul", y, graph.matrix(layer_weight(layer, DOWN))))
