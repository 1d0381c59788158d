"""Causal attention within each story, forward and backward.

Queries of one key/value head are stacked, so that each product serves all of them; a block of queries meets
only the keys before its end. The probabilities are kept for the backward pass.

Shapes: T positions, H query heads, K key/value heads, G = H / K, E = head_dim. ``story`` is where a story's
positions begin and end in the arrays.
"""

import numpy as np
from numba import njit

from aurelius.model.elementwise import FAST, MASKED, ONE, ZERO, exponentiate
from aurelius.training.cpu_step.blas import product

BLOCK = 32  # query positions per product
PAD = 32  # rows of probabilities are padded to whole vectors


@njit(**FAST)
def padded(keys):
    """Return the length of a row of probabilities."""
    return (keys + PAD - 1) // PAD * PAD


@njit(**FAST)
def rotate(x, cos, sin, sign, scale, y):
    """Write ``x`` [E], rotated by its position's angle (backwards if ``sign`` is -1) and scaled, to ``y``."""
    half = x.size // 2
    for i in range(half):
        c, s = cos[i] * scale, sin[i] * sign * scale
        low, high = x[i], x[half + i]
        y[i] = low * c - high * s
        y[half + i] = high * c + low * s


@njit(**FAST)
def split_heads(qkv, cos, sin, begin, end, q, k, v):
    """Rotate and split one story of ``qkv`` [T, H + 2 K, E].

    ``q`` [K, T G, E] gets the queries, scaled by the inverse root of E; ``k`` and ``v`` are [K, T, E].
    """
    K, E = k.shape[0], k.shape[2]
    G = q.shape[1] // k.shape[1]
    scale = ONE / np.sqrt(np.float32(E))
    for t in range(begin, end):
        c, s = cos[t - begin], sin[t - begin]
        for j in range(K):
            for g in range(G):
                rotate(qkv[t, j * G + g], c, s, ONE, scale, q[j, t * G + g])
            rotate(qkv[t, K * G + j], c, s, ONE, ONE, k[j, t])
            for e in range(E):
                v[j, t, e] = qkv[t, K * G + K + j, e]


@njit(**FAST)
def join_heads(dq, dk, dv, cos, sin, begin, end, dqkv):
    """Undo `split_heads` for gradients."""
    K, E = dk.shape[0], dk.shape[2]
    G = dq.shape[1] // dk.shape[1]
    scale = ONE / np.sqrt(np.float32(E))
    for t in range(begin, end):
        c, s = cos[t - begin], sin[t - begin]
        for j in range(K):
            for g in range(G):
                rotate(dq[j, t * G + g], c, s, -ONE, scale, dqkv[t, j * G + g])
            rotate(dk[j, t], c, s, -ONE, ONE, dqkv[t, K * G + j])
            for e in range(E):
                dqkv[t, K * G + K + j, e] = dv[j, t, e]


@njit(**FAST)
def attend(sgemm, q, k, v, begin, end, p, used, y):
    """Attend within one story; write to ``y`` [T, H, E].

    The probabilities are appended to ``p`` from ``used`` on; return how many of its numbers are used then.
    """
    K, E = k.shape[0], k.shape[2]
    G = q.shape[1] // k.shape[1]
    length, width = end - begin, K * G * E
    for j in range(K):
        for first in range(0, length, BLOCK):
            keys = min(first + BLOCK, length)
            rows, row = (keys - first) * G, padded(keys)
            address = p.ctypes.data + 4 * used
            product(sgemm, False, True, rows, keys, E, ONE, q[j, (begin + first) * G :].ctypes.data, E,
                    k[j, begin:].ctypes.data, E, ZERO, address, row)  # fmt: skip
            for r in range(rows):
                _softmax(p[used + r * row : used + (r + 1) * row], first + r // G + 1)
            for g in range(G):  # every G-th row of probabilities is of the same head
                product(sgemm, False, False, keys - first, E, keys, ONE, address + 4 * g * row, G * row,
                        v[j, begin:].ctypes.data, E, ZERO,
                        y[begin + first, j * G + g].ctypes.data, width)  # fmt: skip
            used += rows * row
    return used


@njit(**FAST)
def _softmax(row, valid):
    """Replace the first ``valid`` scores by their probabilities and the others by 0."""
    for i in range(valid, row.size):
        row[i] = MASKED
    _, total = exponentiate(row)
    share = ONE / total
    for i in range(valid):
        row[i] *= share
    for i in range(valid, row.size):
        row[i] = 0


@njit(**FAST)
def attend_gradient(sgemm, q, k, v, begin, end, p, used, y, dy, scores, dq, dk, dv):
    """Compute the gradients of q, k and v from ``dy`` [T, H, E], given `attend`'s result and probabilities.

    ``scores`` has room for one block. Return ``used`` as `attend` does.
    """
    K, E = k.shape[0], k.shape[2]
    G = q.shape[1] // k.shape[1]
    length, width = end - begin, K * G * E
    for j in range(K):
        k_at, v_at = k[j, begin:].ctypes.data, v[j, begin:].ctypes.data
        dk_at, dv_at = dk[j, begin:].ctypes.data, dv[j, begin:].ctypes.data
        for t in range(begin, end):
            for e in range(E):
                dk[j, t, e] = dv[j, t, e] = 0
        for first in range(0, length, BLOCK):
            keys = min(first + BLOCK, length)
            rows, row = (keys - first) * G, padded(keys)
            address = p.ctypes.data + 4 * used
            for g in range(G):
                dy_at = dy[begin + first, j * G + g].ctypes.data
                product(sgemm, False, True, keys - first, keys, E, ONE, dy_at, width, v_at, E, ZERO,
                        scores.ctypes.data + 4 * g * row, G * row)  # fmt: skip
                product(sgemm, True, False, keys, E, keys - first, ONE, address + 4 * g * row, G * row,
                        dy_at, width, ONE, dv_at, E)  # fmt: skip
            for r in range(rows):
                t, head = begin + first + r // G, j * G + r % G
                # The gradient of the scores is p (dp - sum of p dp); the sum is y dy (Dao 2022, 2205.14135).
                inner = ZERO
                for e in range(E):
                    inner += y[t, head, e] * dy[t, head, e]
                for i in range(row):
                    scores[r * row + i] = p[used + r * row + i] * (scores[r * row + i] - inner)
            q_at = q[j, (begin + first) * G :].ctypes.data
            dq_at = dq[j, (begin + first) * G :].ctypes.data
            product(sgemm, False, False, rows, E, keys, ONE, scores.ctypes.data, row, k_at, E, ZERO, dq_at, E)
            product(sgemm, True, False, keys, E, rows, ONE, scores.ctypes.data, row, q_at, E, ONE, dk_at, E)
            used += rows * row
    return used
