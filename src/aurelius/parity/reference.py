"""The whole model in NumPy: what the numbers of a published folder mean, and proof that they are sufficient.

Reads only ``config.json`` and ``model.safetensors``. Shapes: T positions, H query heads, K key/value heads,
E head_dim, V vocabulary.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[np.float32]


def logits(folder: Path, ids: list[int]) -> Array:
    """Return the logits [T, V] of token ids [T]."""
    c = json.loads((folder / "config.json").read_text())
    w = load_file(folder / "model.safetensors")
    T, H, K = len(ids), c["num_attention_heads"], c["num_key_value_heads"]
    E = c["hidden_size"] // H

    def norm(x: Array, name: str) -> Array:
        """Divide by the root of the mean square (RMSNorm)."""
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(c["rms_norm_eps"])) * w[name]

    def heads(x: Array, name: str, count: int) -> Array:
        """Project to [count, T, E]."""
        return (x @ w[name].T).reshape(T, count, E).swapaxes(0, 1)

    # Rotary embedding: a pair (i, i + E/2) is rotated by position x theta ** (-2i / E).
    frequency = 1 / c["rope_theta"] ** (np.arange(0, E, 2, dtype=np.float32) / E)
    angle = np.outer(np.arange(T, dtype=np.float32), frequency).astype(np.float32)
    cos, sin = np.cos(angle), np.sin(angle)

    def rotated(x: Array) -> Array:
        a, b = x[..., : E // 2], x[..., E // 2 :]
        return np.concatenate((a * cos - b * sin, b * cos + a * sin), -1)

    x = w["model.embed_tokens.weight"][ids]
    causal = np.triu(np.full((T, T), -np.inf, np.float32), 1)
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        y = norm(x, at + "input_layernorm.weight")
        q = rotated(heads(y, at + "self_attn.q_proj.weight", H))
        k = rotated(heads(y, at + "self_attn.k_proj.weight", K)).repeat(H // K, 0)
        v = heads(y, at + "self_attn.v_proj.weight", K).repeat(H // K, 0)
        scores = q @ k.swapaxes(1, 2) / np.sqrt(np.float32(E)) + causal
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        y = (weights @ v).swapaxes(0, 1).reshape(T, H * E)
        x = x + y @ w[at + "self_attn.o_proj.weight"].T

        y = norm(x, at + "post_attention_layernorm.weight")
        gate = y @ w[at + "mlp.gate_proj.weight"].T
        y = gate / (1 + np.exp(-gate)) * (y @ w[at + "mlp.up_proj.weight"].T)  # SwiGLU
        x = x + y @ w[at + "mlp.down_proj.weight"].T
    return norm(x, "model.norm.weight") @ w["model.embed_tokens.weight"].T  # the embedding is also the head
