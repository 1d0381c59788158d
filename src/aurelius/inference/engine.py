"""The Llama of `aurelius.model.llama` in NumPy, for generation: it is there at once, and fast on one core.

Per token a model this small needs a few dozen calls of NumPy, so what counts is their number. Three
things are therefore done once, when the weights are read, instead of at every token:

- products of the same input are one: queries, keys and values; gate and up;
- the weights of a norm, and the scale of attention, are multiplied into the matrix that follows;
- the two halves that rotary embedding turns are laid side by side, as one complex number, so that turning
  them is one multiplication.

Shapes: R rows, each one position of one story; S stories; D = d_model, M = d_mlp, H query heads, K key/value
heads, G = H / K, E = head_dim, V vocabulary, T positions of the cache.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from aurelius.config.settings import ModelSettings
from aurelius.inference.one_thread import one_thread
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

Floats = NDArray[np.float32]
ONE = np.float32(1)


class Cache:
    """Keys and values of the positions so far, of one story or of several side by side."""

    def __init__(self, shape: ModelSettings, stories: int = 1):
        size = (shape.layers, stories, shape.kv_heads, shape.context, shape.head_dim)
        self.keys, self.values = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self.length = 0  # positions of the first story
        self.theta = shape.rope_theta

    def drop(self, first: int, count: int) -> None:
        """Forget ``count`` positions from ``first`` on; those after them move up, and are turned back.

        Source: StreamingLLM (Xiao et al. 2023, arXiv 2309.17453), which counts positions within the cache.
        """
        back = turn(np.array(-count), _frequencies(self.keys.shape[4], self.theta))
        turned = self.keys[..., first + count :, :].view(np.complex64) * back
        self.keys[..., first:-count, :] = turned.view(np.float32)
        self.values[..., first:-count, :] = self.values[..., first + count :, :].copy()
        self.length -= count


class Engine:
    """The forward pass."""

    def __init__(self, shape: ModelSettings, weights: Mapping[str, Floats], attend: "Attend | None" = None):
        """Lay out float32 ``weights``, by their published names; ``attend`` may replace our attention."""
        self.shape, self.attend = shape, attend or attend_rows
        self.embedding = weights[EMBEDDING]
        self.head = _inputs_first(self.embedding * weights[FINAL_NORM])
        self.layers = [self._layer(weights, number) for number in range(shape.layers)]
        self.turns = turn(np.arange(shape.context), _frequencies(shape.head_dim, shape.rope_theta))

    def _layer(self, weights: Mapping[str, Floats], number: int) -> tuple[Floats, Floats, Floats, Floats]:
        q, k, v, o, gate, up, down, before_attention, before_mlp = (
            weights[layer_weight(number, part)]
            for part in (Q, K, V, O, GATE, UP, DOWN, ATTENTION_NORM, MLP_NORM)
        )
        E = self.shape.head_dim
        q = q / np.float32(math.sqrt(E))
        qkv = np.concatenate((_pairs(q, E), _pairs(k, E), v)) * before_attention
        # With z = gate / 2, silu(gate) is z (1 + tanh z): it cannot overflow.
        gate_up = np.concatenate((gate / 2, up)) * before_mlp
        return _inputs_first(qkv), _inputs_first(o), _inputs_first(gate_up), _inputs_first(down)

    def next_token_logits(self, ids: Sequence[int], cache: Cache) -> Floats:
        """Append ids to the one story of a cache; return the logits [V] of what follows."""
        first = cache.length
        cache.length += len(ids)
        positions = np.arange(first, cache.length)
        with one_thread():
            x = self.forward(ids, np.zeros_like(positions), positions, cache)
            return self.logits(x[-1:])[0]

    def logits(self, x: Floats) -> Floats:
        """Map what `forward` returns [R, D] to logits [R, V]."""
        return np.dot(self._normalised(x), self.head)

    def forward(
        self,
        ids: Sequence[int] | NDArray[np.integer],
        stories: NDArray[np.integer],
        positions: NDArray[np.integer],
        cache: Cache,
    ) -> Floats:
        """Map token ids [R] to the residual stream after the last layer [R, D].

        Args:
            ids: a token for every row.
            stories: the story of each row [R].
            positions: its position [R]; every earlier position is in the cache, or an earlier row.
            cache: receives the keys and values.
        """
        shape = self.shape
        H, K, E, M = shape.heads, shape.kv_heads, shape.head_dim, shape.d_mlp
        x = self.embedding[ids]
        R, turns = len(x), self.turns[positions, None]  # [R, 1, E / 2]
        attended = np.empty((R, K, H // K, E), np.float32)
        for layer, (qkv, o, gate_up, down) in enumerate(self.layers):
            heads = np.dot(self._normalised(x), qkv).reshape(R, H + 2 * K, E)
            turned = heads[:, : H + K].view(np.complex64)
            np.multiply(turned, turns, out=turned)
            self.attend(heads, stories, positions, cache.keys[layer], cache.values[layer], attended)
            x += np.dot(attended.reshape(R, H * E), o)
            hidden = np.dot(self._normalised(x), gate_up)
            gate, up = hidden[:, :M], hidden[:, M:]
            active = np.tanh(gate)
            active += ONE
            active *= gate
            active *= up
            x += np.dot(active, down)
        return x

    def _normalised(self, x: Floats) -> Floats:
        """RMSNorm without its weights, which are part of the next matrix."""
        if len(x) == 1:  # one number, without NumPy's overhead
            square = float(x[0].dot(x[0])) / self.shape.d_model
            return x * (1 / math.sqrt(square + self.shape.norm_eps))
        squares = np.einsum("rd,rd->r", x, x)[:, None]
        return x / np.sqrt(squares / self.shape.d_model + np.float32(self.shape.norm_eps))


def attend_rows(
    heads: Floats,
    stories: NDArray[np.integer],
    positions: NDArray[np.integer],
    keys: Floats,
    values: Floats,
    out: Floats,
) -> None:
    """Add each row's keys and values to the cache; write its attention into ``out`` [R, K, G, E].

    Args:
        heads: queries and keys, both turned, and values of the rows [R, H + 2 K, E].
        stories: the story of each row [R].
        positions: its position [R]; the rows of a story are in order.
        keys: of the cache [S, K, T, E].
        values: of the cache [S, K, T, E].
        out: receives the result.
    """
    _, K, G, E = out.shape
    for row, (story, position) in enumerate(zip(stories.tolist(), positions.tolist(), strict=True)):
        keys[story, :, position] = heads[row, -2 * K : -K]
        values[story, :, position] = heads[row, -K:]
        seen = keys[story, :, : position + 1].transpose(0, 2, 1)
        scores = np.matmul(heads[row, : K * G].reshape(K, G, E), seen)
        scores -= np.maximum.reduce(scores, axis=2, keepdims=True)
        np.exp(scores, out=scores)
        # A product with ones is a sum, in a third of the time.
        totals = scores.reshape(K * G, -1).dot(_ones(keys.shape[2])[: position + 1])
        np.divide(np.matmul(scores, values[story, :, : position + 1]), totals.reshape(K, G, 1), out=out[row])


Attend = Callable[[Floats, NDArray[np.integer], NDArray[np.integer], Floats, Floats, Floats], None]


def turn(positions: NDArray[np.integer], frequencies: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Return the rotary embedding of positions, complex [..., E / 2] (Su et al. 2021, arXiv 2104.09864)."""
    return np.exp(1j * np.multiply.outer(positions, frequencies)).astype(np.complex64)


@cache
def _ones(length: int) -> Floats:
    return np.ones(length, np.float32)


def _frequencies(head_dim: int, theta: float) -> NDArray[np.float64]:
    return 1.0 / theta ** (np.arange(0, head_dim, 2) / head_dim)


def _pairs(weight: Floats, head_dim: int) -> Floats:
    """Lay side by side the rows (i, i + E / 2) of every head, which rotary embedding turns together."""
    halves = weight.reshape(-1, 2, head_dim // 2, weight.shape[1])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def _inputs_first(weight: Floats) -> Floats:
    """Return the matrix [inputs, outputs] of a published one [outputs, inputs]."""
    return np.ascontiguousarray(weight.T)
