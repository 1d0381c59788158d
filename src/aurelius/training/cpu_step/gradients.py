"""Loss and gradients of a Llama over some stories, in one pass forward and one backward.

Parameters, and their gradients, lie in one array in the order of the model's ``named_parameters``: the
embedding; of each layer the norm, q, k, v, o, the norm, gate, up, down; the last norm. So q, k and v are one
matrix, and so are gate and up.

Shapes: N positions of one or more stories, D = d_model, M = d_mlp, H query heads, K key/value heads,
E = head_dim, V vocabulary, L layers.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from aurelius.config.settings import ModelSettings
from aurelius.model.elementwise import (
    FAST,
    ONE,
    ZERO,
    exponentiate,
    norm,
    norm_gradient,
    swiglu,
    swiglu_gradient,
)
from aurelius.special_tokens import IGNORE_INDEX
from aurelius.training.cpu_step.attention import (
    BLOCK,
    attend,
    attend_gradient,
    join_heads,
    padded,
    split_heads,
)
from aurelius.training.cpu_step.blas import linear
from aurelius.training.cpu_step.sources import SOURCES
from aurelius.training.cpu_step.tiles import DEPTH, WIDE, add_weight_gradient, linear_input_gradient

HEAD_ROWS = 176  # positions whose logits are computed at once
LINE = 16  # numbers in a cache line


class Shape(NamedTuple):
    """The sizes of a model (see the module), and BLAS's address."""

    sgemm: int
    L: int
    D: int
    M: int
    H: int
    K: int
    E: int
    V: int
    eps: np.float32


class Workspace(NamedTuple):
    """What a thread needs for one pass: what the forward pass keeps, and scratch."""

    x: Any  # [2 L + 1, N, D] the residual stream before each norm
    inverse: Any  # [2 L + 1, N] and the inverse root mean squares of its positions
    h: Any  # [N, D] a norm's output
    q: Any  # [L, K, N G, E] rotated and scaled
    k: Any  # [L, K, N, E] rotated
    v: Any  # [L, K, N, E]
    p: Any  # [L, H N N] attention's probabilities, in the order of their computation
    y: Any  # [L, N, H, E] attention's output
    gate_up: Any  # [L, N, 2 M]
    z: Any  # [N, M]
    qkv: Any  # [N, (H + 2 K) E]
    logits: Any  # [HEAD_ROWS, V]
    scaled: Any  # [HEAD_ROWS, D]
    shares: Any  # [HEAD_ROWS]
    scores: Any  # one block of attention's scores
    dx: Any  # [N, D]
    dh: Any  # [N, D]
    dq: Any  # [K, N G, E]
    dk: Any  # [K, N, E]
    dv: Any  # [K, N, E]
    panel: Any  # of a product


def workspace(model: ModelSettings, vocab_size: int) -> Workspace:
    """Allocate room for one context."""
    L, N, D, M, E = model.layers, model.context, model.d_model, model.d_mlp, model.head_dim
    H, K = model.heads, model.kv_heads
    row, rows = padded(N), N * H // K  # of probabilities; of queries per key/value head
    sizes = Workspace(
        x=(2 * L + 1, N, D), inverse=(2 * L + 1, N), h=(N, D), q=(L, K, rows, E), k=(L, K, N, E),
        v=(L, K, N, E), p=(L, H * N * row), y=(L, N, H, E), gate_up=(L, N, 2 * M), z=(N, M),
        qkv=(N, D + 2 * K * E), logits=(HEAD_ROWS, vocab_size), scaled=(HEAD_ROWS, D), shares=(HEAD_ROWS,),
        scores=(BLOCK * H // K * row,), dx=(N, D), dh=(N, D), dq=(K, rows, E), dk=(K, N, E),
        dv=(K, N, E), panel=(DEPTH * WIDE,),
    )  # fmt: skip
    # One allocation, which the system can serve with huge pages.
    starts = np.cumsum([0, *(LINE * -(-math.prod(size) // LINE) for size in sizes)])
    room = np.empty(starts[-1], np.float32)
    return Workspace(*(room[a : a + math.prod(s)].reshape(s) for a, s in zip(starts, sizes, strict=False)))


@njit(**FAST)
def _parts(array, shape, layer):
    """Return a layer's norm, q-k-v, o, norm, gate-up and down as views of all parameters or gradients."""
    _, _, D, M, H, K, E, V, _ = shape
    sizes = (D, (H + 2 * K) * E * D, D * H * E, D, 2 * M * D, D * M)
    a = V * D + layer * sum(sizes)
    b = a + sizes[0]
    c = b + sizes[1]
    d = c + sizes[2]
    e = d + sizes[3]
    f = e + sizes[4]
    return (
        array[a:b],
        array[b:c].reshape(-1, D),
        array[c:d].reshape(D, -1),
        array[d:e],
        array[e:f].reshape(-1, D),
        array[f : f + sizes[5]].reshape(D, -1),
    )


@njit(**FAST)
def _add_gradients(shape, w, weights, gradient, cos, sin, ids, targets, bounds, scale):
    """See `add_gradients`."""
    sgemm, L, D, _, H, K, E, V, eps = shape
    N = ids.size
    embedding, dembedding = weights[: V * D].reshape(V, D), gradient[: V * D].reshape(V, D)
    last, dlast = weights[-D:], gradient[-D:]
    h, z, qkv, dx, dh = w.h[:N], w.z[:N], w.qkv[:N], w.dx[:N], w.dh[:N]
    heads = qkv.reshape(N, H + 2 * K, E)

    for n in range(N):
        for d in range(D):
            w.x[0, n, d] = embedding[ids[n], d]
    for layer in range(L):
        w_norm, w_qkv, w_o, w_second, w_gate_up, w_down = _parts(weights, shape, layer)
        x, middle, out = w.x[2 * layer, :N], w.x[2 * layer + 1, :N], w.x[2 * layer + 2, :N]
        y, gate_up = w.y[layer, :N], w.gate_up[layer, :N]
        norm(x, w_norm, eps, h, w.inverse[2 * layer])
        linear(sgemm, h, w_qkv, qkv, ZERO)
        used = 0
        for s in range(bounds.size - 1):
            begin, end = bounds[s], bounds[s + 1]
            split_heads(heads, cos, sin, begin, end, w.q[layer], w.k[layer], w.v[layer])
            used = attend(sgemm, w.q[layer], w.k[layer], w.v[layer], begin, end, w.p[layer], used, y)
        middle[:] = x
        linear(sgemm, y.reshape(N, H * E), w_o, middle, ONE)
        norm(middle, w_second, eps, h, w.inverse[2 * layer + 1])
        linear(sgemm, h, w_gate_up, gate_up, ZERO)
        swiglu(gate_up, z)
        out[:] = middle
        linear(sgemm, z, w_down, out, ONE)

    x = w.x[2 * L, :N]
    norm(x, last, eps, h, w.inverse[2 * L])
    loss = _head(sgemm, w, embedding, dembedding, targets, scale)
    dx[:] = 0
    norm_gradient(dh, x, last, w.inverse[2 * L], dx, dlast, h)
    for layer in range(L - 1, -1, -1):
        w_norm, w_qkv, w_o, w_second, w_gate_up, w_down = _parts(weights, shape, layer)
        d_norm, d_qkv, d_o, d_second, d_gate_up, d_down = _parts(gradient, shape, layer)
        x, middle = w.x[2 * layer, :N], w.x[2 * layer + 1, :N]
        y, gate_up = w.y[layer, :N], w.gate_up[layer, :N]
        linear_input_gradient(sgemm, dx, w_down, z, w.panel)
        swiglu_gradient(gate_up, z)
        add_weight_gradient(sgemm, dx, z, d_down, w.panel)
        linear_input_gradient(sgemm, gate_up, w_gate_up, dh, w.panel)
        norm_gradient(dh, middle, w_second, w.inverse[2 * layer + 1], dx, d_second, h)
        add_weight_gradient(sgemm, gate_up, h, d_gate_up, w.panel)
        linear_input_gradient(sgemm, dx, w_o, dh, w.panel)  # of attention's output, which is as wide
        add_weight_gradient(sgemm, dx, y.reshape(N, H * E), d_o, w.panel)
        dy, used = dh.reshape(N, H, E), 0
        for s in range(bounds.size - 1):
            begin, end = bounds[s], bounds[s + 1]
            used = attend_gradient(sgemm, w.q[layer], w.k[layer], w.v[layer], begin, end, w.p[layer], used, y,
                                   dy, w.scores, w.dq, w.dk, w.dv)  # fmt: skip
            join_heads(w.dq, w.dk, w.dv, cos, sin, begin, end, heads)
        linear_input_gradient(sgemm, qkv, w_qkv, dh, w.panel)
        norm_gradient(dh, x, w_norm, w.inverse[2 * layer], dx, d_norm, h)
        add_weight_gradient(sgemm, qkv, h, d_qkv, w.panel)
    for n in range(N):
        for d in range(D):
            dembedding[ids[n], d] += dx[n, d]
    return loss


@njit(**FAST)
def _head(sgemm, w, embedding, dembedding, targets, scale):
    """Return the loss; write the gradient of the head's input ``h`` to ``dh``, add the embedding's."""
    loss = 0.0
    for first in range(0, targets.size, HEAD_ROWS):
        end = min(first + HEAD_ROWS, targets.size)
        h, dh = w.h[first:end], w.dh[first:end]
        logits, scaled, shares = w.logits[: end - first], w.scaled[: end - first], w.shares[: end - first]
        linear(sgemm, h, embedding, logits, ZERO)
        for r in range(end - first):
            target, shares[r] = targets[first + r], ZERO
            if target != IGNORE_INDEX:
                own = logits[r, target]
                highest, total = exponentiate(logits[r])
                loss += np.log(total) - (own - highest)
                # The gradient is softmax minus one-hot, times the scale; narrower matrices take the factors.
                logits[r, target] -= total
                shares[r] = scale / total
            for d in range(h.shape[1]):
                scaled[r, d] = h[r, d] * shares[r]
        linear_input_gradient(sgemm, logits, embedding, dh, w.panel)
        add_weight_gradient(sgemm, logits, scaled, dembedding, w.panel)
        for r in range(end - first):
            for d in range(h.shape[1]):
                dh[r, d] *= shares[r]
    return loss


def _compile(sources: str):
    @njit(**FAST, cache=True)
    def add_gradients(shape, w, weights, gradient, cos, sin, ids, targets, bounds, scale):
        """Add ``scale`` times the gradient of the summed loss to ``gradient``; return the loss (nats).

        Args:
            shape: a `Shape`.
            w: a `Workspace`.
            weights: all parameters, one after another.
            gradient: the gradients in the same order.
            cos: cosines of the rotary embedding [context, E / 2].
            sin: its sines.
            ids: token ids [N], at most the context.
            targets: the ids that follow [N]; IGNORE_INDEX is not counted.
            bounds: where the stories begin, and the end [stories + 1]; attention stays within each.
            scale: factor of the gradients.
        """
        _ = sources
        return _add_gradients(shape, w, weights, gradient, cos, sin, ids, targets, bounds, scale)

    return add_gradients


add_gradients = _compile(SOURCES)
