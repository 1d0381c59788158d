"""What compiled code does to single numbers and rows, written so that LLVM vectorises it.

``FAST`` lets sums be reordered and fused multiply-adds be used, but keeps NaN and infinity, by which a
diverging training is recognised.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

FAST: dict[str, Any] = {
    "fastmath": {"reassoc", "contract", "arcp", "nsz"},
    "nogil": True,
    "error_model": "numpy",  # no checks for division by zero, which would prevent vectorising
}
ZERO, ONE = np.float32(0), np.float32(1)
LOG2_E = np.float32(1.44269504)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # their sum is ln 2
LOWEST_EXPONENT = np.float32(-87)  # e to this power is about the smallest normal number
MASKED = np.float32(-1e30)
# exp(f) = 1 + f + f² p(f) for |f| <= ln(2) / 2; Cephes (S. Moshier), expf.
P = [
    np.float32(value)
    for value in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
]
P0, P1, P2, P3, P4, P5 = P


@intrinsic
def _power_of_two(context: Any, exponent: Any) -> tuple[Any, Callable]:
    """Map an int32 from -126 to 127 to the float32 with that exponent."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.add(arguments[0], ir.Constant(ir.IntType(32), 127))
        return builder.bitcast(builder.shl(bits, ir.Constant(ir.IntType(32), 23)), ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def _larger(context: Any, a: Any, b: Any) -> tuple[Any, Callable]:
    """Return the larger float32; unlike comparisons, LLVM vectorises this."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = ir.FloatType()
        kind = ir.FunctionType(number, [number, number])
        maxnum = builder.module.declare_intrinsic("llvm.maxnum", [number], kind)
        return builder.call(maxnum, arguments, fastmath=("nnan", "nsz"))

    return types.float32(types.float32, types.float32), generate


@njit(**FAST)
def exp_negative(x):
    """Return e to the power of ``x`` <= 0."""
    x = max(x, LOWEST_EXPONENT)
    n = np.int32(x * LOG2_E - np.float32(0.5))  # rounds to the nearest
    whole = np.float32(n)
    f = x - whole * LN_2_HIGH - whole * LN_2_LOW
    p = ((((P0 * f + P1) * f + P2) * f + P3) * f + P4) * f + P5
    return (p * f * f + f + ONE) * _power_of_two(n)  # pyright: ignore[reportCallIssue]


@njit(**FAST)
def exponentiate(row):
    """Replace a row by exp(row - its maximum); return the maximum and the sum."""
    highest = row[0]
    for i in range(row.size):
        highest = _larger(highest, row[i])  # pyright: ignore[reportCallIssue]
    total = ZERO
    for i in range(row.size):
        row[i] = exp_negative(row[i] - highest)
        total += row[i]
    return highest, total


@njit(**FAST)
def norm(x, weight, eps, y, inverse):
    """RMSNorm of rows [T, D] into ``y``; ``inverse`` [T] gets the inverse root mean squares."""
    T, D = x.shape
    for t in range(T):
        squares = ZERO
        for d in range(D):
            squares += x[t, d] * x[t, d]
        r = ONE / np.sqrt(squares / np.float32(D) + eps)
        inverse[t] = r
        for d in range(D):
            y[t, d] = x[t, d] * r * weight[d]


@njit(**FAST)
def norm_gradient(dy, x, weight, inverse, dx, dweight, y):
    """Add the gradients of `norm` to ``dx`` [T, D] and ``dweight`` [D]; compute its output ``y`` again."""
    T, D = x.shape
    for t in range(T):
        r, along = inverse[t], ZERO
        for d in range(D):
            along += dy[t, d] * weight[d] * x[t, d]
        along *= r * r * r / np.float32(D)
        for d in range(D):
            dx[t, d] += dy[t, d] * weight[d] * r - x[t, d] * along
        for d in range(D):
            dweight[d] += dy[t, d] * x[t, d] * r
        for d in range(D):
            y[t, d] = x[t, d] * r * weight[d]


@njit(**FAST)
def swiglu(gate_up, z):
    """Map gates and values [T, 2 M] to ``z`` [T, M] = silu(gate) value."""
    T, M = z.shape
    for t in range(T):
        for m in range(M):
            gate = gate_up[t, m]
            z[t, m] = gate * _sigmoid(gate) * gate_up[t, M + m]


@njit(**FAST)
def swiglu_gradient(gate_up, dz):
    """Replace gates and values [T, 2 M] by their gradients, and ``dz``, the gradient of z, by z again."""
    T, M = dz.shape
    for t in range(T):
        for m in range(M):
            gate, value = gate_up[t, m], gate_up[t, M + m]
            s = _sigmoid(gate)
            gate_up[t, m] = dz[t, m] * value * s * (ONE + gate * (ONE - s))
            gate_up[t, M + m] = dz[t, m] * gate * s
            dz[t, m] = gate * s * value


@njit(**FAST)
def _sigmoid(x):
    e = exp_negative(-abs(x))
    return (ONE if x >= 0 else e) / (ONE + e)
