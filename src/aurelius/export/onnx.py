"""ONNX files of a Llama with its cache, as transformers.js and ONNX Runtime load them.

One graph of standard operators (opset 21, https://onnx.ai/onnx/operators/). All files compute in float32;
they differ in how they store the matrices:

    model.onnx            float32
    model_fp16.onnx       float16
    model_quantized.onnx  int8, one scale for each row of a matrix
    model_q4.onnx         int4, a scale for each 32 inputs; the embedding, which is the head too, in int8

Inputs: ``input_ids``, ``position_ids`` [B, T] and ``attention_mask`` [B, P + T] (int64), and for each layer
``past_key_values.N.key`` and ``.value`` [B, K, P, E], where P may be 0. Outputs: ``logits`` [B, T, V] and
``present.N.key`` and ``.value`` [B, K, P + T, E]. The names are those of Optimum.

Shapes: B batch, T new positions, P past positions, S = P + T, H query heads, K key/value heads, E head_dim.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from aurelius import __version__
from aurelius.export.target import ONNX_FILES
from aurelius.files import write_bytes
from aurelius.model.hf_folder import EMBEDDING, LAST_NORM, Folder

OPSET, IR = 21, 10
BLOCK = 32  # inputs that share a scale in q4
MASKED = float(np.finfo(np.float32).min)  # finite: a row with nothing but padding must not become NaN
BESIDE = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def write(source: Folder, out: Path, kinds: tuple[str, ...] = tuple(ONNX_FILES)) -> None:
    """Write ``out/onnx/*.onnx`` and, beside them, the tokenizer and configurations they are used with."""
    for name in BESIDE:
        write_bytes(out / name, (source.path / name).read_bytes())
    for kind in kinds:
        content = build(source, kind).SerializeToString(deterministic=True)
        write_bytes(out / "onnx" / f"{ONNX_FILES[kind]}.onnx", content)


def build(source: Folder, kind: str = "fp32") -> ModelProto:
    """Return the model with its matrices stored as ``kind``."""
    shape, K, E = source.shape, source.shape.kv_heads, source.shape.head_dim
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
            inputs.append(helper.make_tensor_value_info(past, TensorProto.FLOAT, ["batch", K, "past", E]))
            outputs.append(helper.make_tensor_value_info(present, TensorProto.FLOAT, ["batch", K, "all", E]))

    embedding = graph.matrix(EMBEDDING)
    x = graph("Gather", embedding, "input_ids")
    turn, mask = _turn(graph), _mask(graph)
    for layer in range(shape.layers):
        x = _layer(graph, x, layer, turn, mask)
    x = _norm(graph, x, LAST_NORM)
    graph("MatMul", x, graph("Transpose", embedding, perm=[1, 0]), name="logits")

    made = helper.make_graph(graph.nodes, "llama", inputs, outputs, graph.constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(made, opset_imports=[opset], ir_version=IR, producer_name="aurelius")
    model.producer_version = __version__
    checker.check_model(model, full_check=True)
    return model


class Graph:
    """Nodes and constants as they are added; a call adds a node and returns the name of its output."""

    def __init__(self, source: Folder, kind: str):
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


def _turn(graph: Graph) -> tuple[str, str]:
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
    """Return what is added to the scores, [B, 1, 1, T, S]: 0 for what a position sees."""
    zero, one = graph.constant(0), graph.constant(1)
    total = graph("Gather", graph("Shape", "attention_mask"), one)
    new = graph("Gather", graph("Shape", "input_ids"), one)
    column = graph("Range", zero, total, one)
    row = graph("Unsqueeze", graph("Range", graph("Sub", total, new), total, one), graph.constant([1]))
    seen = graph("LessOrEqual", column, row)  # [T, S]
    real = graph("Cast", graph("Unsqueeze", "attention_mask", graph.constant([1, 2, 3])), to=TensorProto.BOOL)
    return graph("Where", graph("And", real, seen), graph.constant(0.0), graph.constant(MASKED))


def _norm(graph: Graph, x: str, weight: str) -> str:
    square = graph("ReduceMean", graph("Mul", x, x), graph.constant([-1]), keepdims=1)
    root = graph("Sqrt", graph("Add", square, graph.constant(graph.source.shape.norm_eps)))
    return graph("Mul", graph("Div", x, root), graph.constant(graph.source.weights[weight], weight))


def _layer(graph: Graph, x: str, layer: int, turn: tuple[str, str], mask: str) -> str:
    shape, name = graph.source.shape, f"model.layers.{layer}"
    H, K, E = shape.heads, shape.kv_heads, shape.head_dim
    y = _norm(graph, x, f"{name}.input_layernorm.weight")

    def heads(part: str, count: int) -> str:
        flat = graph("MatMul", y, graph.matrix(f"{name}.self_attn.{part}_proj.weight"))
        parted = graph("Reshape", flat, graph.constant([0, 0, count, E]))
        return graph("Transpose", parted, perm=[0, 2, 1, 3])  # [B, H or K, T, E]

    def rotated(x: str) -> str:
        low, high = graph.split(x)
        crossed = graph("Concat", graph("Neg", high), low, axis=-1)
        return graph("Add", graph("Mul", x, turn[0]), graph("Mul", crossed, turn[1]))

    q, k, v = rotated(heads("q", H)), rotated(heads("k", K)), heads("v", K)
    past = f"past_key_values.{layer}"
    k = graph("Concat", f"{past}.key", k, axis=2, name=f"present.{layer}.key")
    v = graph("Concat", f"{past}.value", v, axis=2, name=f"present.{layer}.value")
    # Queries of one group sit beside each other, [B, K, H / K, T, E], and share their key and value head.
    q = graph("Reshape", q, graph.constant([0, K, H // K, -1, E]))
    k = graph("Transpose", graph("Unsqueeze", k, graph.constant([2])), perm=[0, 1, 2, 4, 3])
    v = graph("Unsqueeze", v, graph.constant([2]))
    scores = graph("Mul", graph("MatMul", q, k), graph.constant(1 / math.sqrt(E)))
    weights = graph("Softmax", graph("Add", scores, mask), axis=-1)
    y = graph("Reshape", graph("MatMul", weights, v), graph.constant([0, H, -1, E]))
    y = graph("Reshape", graph("Transpose", y, perm=[0, 2, 1, 3]), graph.constant([0, 0, H * E]))
    x = graph("Add", x, graph("MatMul", y, graph.matrix(f"{name}.self_attn.o_proj.weight")))

    y = _norm(graph, x, f"{name}.post_attention_layernorm.weight")
    gate = graph("MatMul", y, graph.matrix(f"{name}.mlp.gate_proj.weight"))
    up = graph("MatMul", y, graph.matrix(f"{name}.mlp.up_proj.weight"))
    y = graph("Mul", graph("Mul", gate, graph("Sigmoid", gate)), up)
    return graph("Add", x, graph("MatMul", y, graph.matrix(f"{name}.mlp.down_proj.weight")))
