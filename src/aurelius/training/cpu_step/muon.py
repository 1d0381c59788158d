"""Muon's update of one matrix: momentum, orthogonalisation of each head, and the step, in one pass."""

import numpy as np
from numba import njit

from aurelius.model.elementwise import FAST, ONE, ZERO
from aurelius.training.cpu_step.blas import product
from aurelius.training.cpu_step.sources import SOURCES
from aurelius.training.optim.muon import COEFFICIENTS, ITERATIONS

A, B, C = (np.float32(c) for c in COEFFICIENTS)
SMALLEST_NORM = np.float32(1e-7)
STRIP = 32  # columns of a symmetric product at once


def _compile(sources: str):
    @njit(**FAST, cache=True)
    def update(sgemm, weight, gradient, average, down, across, rate, decay, momentum):
        """Update a matrix once.

        Args:
            sgemm: BLAS's address.
            weight: the matrix [R, C], float32.
            gradient: its gradient, which is overwritten.
            average: the momentum's running average of gradients [R, C].
            down: how many heads are stacked in the matrix; each is orthogonalised by itself.
            across: how many heads lie next to each other.
            rate: the learning rate.
            decay: decoupled weight decay.
            momentum: share of the old average.
        """
        _ = sources
        rows, columns = weight.shape
        for r in range(rows):
            for c in range(columns):
                average[r, c] += (ONE - momentum) * (gradient[r, c] - average[r, c])
                gradient[r, c] += momentum * (average[r, c] - gradient[r, c])  # Nesterov
        height, width = rows // down, columns // across
        n = min(height, width)
        room = np.empty((4, n, n), np.float32)
        scale = rate * np.sqrt(max(ONE, np.float32(rows) / np.float32(columns)))
        keep = ONE - rate * decay
        for i in range(down):
            for j in range(across):
                x = gradient[i * height : (i + 1) * height, j * width : (j + 1) * width]
                inverse = ONE / max(_frobenius(x), SMALLEST_NORM)
                gram, x_at = room[0], x.ctypes.data
                target = weight[i * height :, j * width :].ctypes.data
                tall = height > width
                size = max(height, width)
                # Of the normalised head, on its smaller side.
                _symmetric_product(sgemm, tall, not tall, n, size, inverse * inverse, x_at, columns, x_at,
                                   columns, ZERO, gram)  # fmt: skip
                total = _polynomial(sgemm, room)
                if tall:
                    product(sgemm, False, False, size, n, n, -scale * inverse, x_at, columns,
                            total.ctypes.data, n, keep, target, columns)  # fmt: skip
                else:
                    product(sgemm, False, False, n, size, n, -scale * inverse, total.ctypes.data, n, x_at,
                            columns, keep, target, columns)  # fmt: skip

    return update


update = _compile(SOURCES)


@njit(**FAST)
def _frobenius(x):
    squares = ZERO
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            squares += x[r, c] * x[r, c]
    return np.sqrt(squares)


@njit(**FAST)
def _polynomial(sgemm, room):
    """Return what x is multiplied by to be orthogonal, given x xᵀ in ``room`` [4, n, n]; see `orthogonal`."""
    gram, factor, total, other = room[0], room[1], room[2], room[3]
    for step in range(ITERATIONS):
        factor[:] = gram
        _square_product(sgemm, C, gram, gram, B, factor)
        for r in range(factor.shape[0]):
            factor[r, r] += A
        if step == 0:
            total[:] = factor
        else:
            _square_product(sgemm, ONE, factor, total, ZERO, other)
            total, other = other, total
        if step < ITERATIONS - 1:
            _square_product(sgemm, ONE, gram, factor, ZERO, other)
            _square_product(sgemm, ONE, factor, other, ZERO, gram)
    return total


@njit(**FAST)
def _symmetric_product(sgemm, a_turned, b_turned, n, k, alpha, a, lda, b, ldb, beta, c):
    """Set ``c`` [n, n] to alpha A B + beta C, known to be symmetric: only strips below the diagonal.

    The other parameters are those of `product`.
    """
    for first in range(0, n, STRIP):
        end = min(first + STRIP, n)
        a_at = a + 4 * (first if a_turned else first * lda)
        b_at = b + 4 * (first * ldb if b_turned else first)
        product(sgemm, a_turned, b_turned, n - first, end - first, k, alpha, a_at, lda, b_at, ldb, beta,
                c[first, first:].ctypes.data, n)  # fmt: skip
        for r in range(end, n):
            for i in range(first, end):
                c[i, r] = c[r, i]


@njit(**FAST)
def _square_product(sgemm, alpha, a, b, beta, c):
    """C = alpha A B + beta C for polynomials of one symmetric matrix: they commute, so C is symmetric."""
    n = a.shape[0]
    _symmetric_product(sgemm, False, False, n, n, alpha, a.ctypes.data, n, b.ctypes.data, n, beta, c)
