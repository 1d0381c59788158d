"""Attention of many stories at once, compiled: with NumPy, a call per story would take most of the time."""

import numpy as np
from numba import njit

from aurelius.model.elementwise import FAST, MASKED, ONE, ZERO, exponentiate

PAD = 32  # scores are computed in whole vectors


@njit(**FAST, cache=True)
def attend_each(heads, stories, positions, keys, values, out):
    """Do what `aurelius.inference.engine.attend_rows` does."""
    R, K, G, E = out.shape
    H = K * G
    scores = np.empty((G, keys.shape[3]), np.float32)
    for r in range(R):
        story, last = stories[r], positions[r]
        length = last + 1
        for j in range(K):
            for e in range(E):
                keys[story, j, e, last] = heads[r, H + j, e]
                values[story, j, last, e] = heads[r, H + K + j, e]
            row = scores[:, : min((length + PAD - 1) // PAD * PAD, keys.shape[3])]
            for g in range(G):
                for t in range(row.shape[1]):
                    row[g, t] = ZERO
            for e in range(E):
                key = keys[story, j, e]
                for g in range(G):
                    q = heads[r, j * G + g, e]
                    for t in range(row.shape[1]):
                        row[g, t] += q * key[t]
            for g in range(G):
                for t in range(length, row.shape[1]):
                    row[g, t] = MASKED
                _, total = exponentiate(row[g])
                share = ONE / total
                for t in range(length):
                    row[g, t] *= share
                for e in range(E):
                    out[r, j, g, e] = ZERO
            for t in range(length):
                value = values[story, j, t]
                for g in range(G):
                    p = row[g, t]
                    for e in range(E):
                        out[r, j, g, e] += p * value[e]
