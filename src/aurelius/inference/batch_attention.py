"""Attention of many stories at once, compiled: with NumPy, a call per story would take most of the time."""

import numpy as np
from numba import njit

from aurelius.model.elementwise import FAST, ONE, ZERO, exponentiate


@njit(**FAST, cache=True)
def attend_each(heads, stories, positions, keys, values, out):
    """Do what `aurelius.inference.engine.attend_rows` does."""
    R, K, G, E = out.shape
    H = K * G
    scores = np.empty((G, keys.shape[2]), np.float32)
    for r in range(R):
        story, last = stories[r], positions[r]
        length = last + 1
        for j in range(K):
            for e in range(E):
                keys[story, j, last, e] = heads[r, H + j, e]
                values[story, j, last, e] = heads[r, H + K + j, e]
            for t in range(length):  # keys are read once for all queries
                key = keys[story, j, t]
                for g in range(G):
                    q, score = heads[r, j * G + g], ZERO
                    for e in range(E):
                        score += q[e] * key[e]
                    scores[g, t] = score
            for g in range(G):
                _, total = exponentiate(scores[g, :length])
                share = ONE / total
                for t in range(length):
                    scores[g, t] *= share
                for e in range(E):
                    out[r, j, g, e] = ZERO
            for t in range(length):
                value = values[story, j, t]
                for g in range(G):
                    p = scores[g, t]
                    for e in range(E):
                        out[r, j, g, e] += p * value[e]
