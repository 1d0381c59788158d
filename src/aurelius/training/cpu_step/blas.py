"""Matrix products inside compiled code: SciPy's BLAS, called through its address.

Numba's own ``np.dot`` allocates its result and cannot add to one. `product` writes and adds in place, with
leading dimensions, so that heads and fused matrices need no copies.
"""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from aurelius.model.elementwise import ONE

_SIZE, _SCALE, _ADDRESS = types.int32, types.float32, types.intp
# Of sgemm: transa, transb, m, n, k; alpha, a, lda, b, ldb, beta, c, ldc.
_PARAMETERS = (
    *(types.uint8, types.uint8, _SIZE, _SIZE, _SIZE),
    *(
        _SCALE,
        _ADDRESS,
        _SIZE,
        _ADDRESS,
        _SIZE,
        _SCALE,
        _ADDRESS,
        _SIZE,
    ),
)
_BYTES = ir.IntType(8).as_pointer()


def sgemm_address() -> int:
    """Return the address of BLAS's sgemm, which differs from process to process."""
    return get_cython_function_address("scipy.linalg.cython_blas", "sgemm")


@intrinsic
def _sgemm(context, address, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):  # fmt: skip
    """Call the function at ``address`` as Fortran's sgemm: every parameter by reference."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, *values = arguments
        references = []
        for value, kind in zip(values, _PARAMETERS, strict=True):
            slot = value if kind is _ADDRESS else cgutils.alloca_once_value(builder, value)
            cast = builder.inttoptr if kind is _ADDRESS else builder.bitcast
            references.append(cast(slot, _BYTES))
        sgemm = ir.FunctionType(ir.VoidType(), [_BYTES] * len(references)).as_pointer()
        builder.call(builder.inttoptr(address, sgemm), references)
        return context.get_dummy_value()

    return types.void(_ADDRESS, *_PARAMETERS), generate


@njit(nogil=True)
def product(sgemm, a_turned, b_turned, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):  # fmt: skip
    """C [m, n] = alpha A B + beta C; A is [m, k], or [k, m] if turned, B [k, n], or [n, k] if turned.

    Row-major float32 matrices are given by the address of their first element and the length of a row.
    """
    plain, turned = ord("N"), ord("T")
    # To BLAS, which is column-major, the same memory is Cᵀ = Bᵀ Aᵀ.
    _sgemm(  # pyright: ignore[reportCallIssue]
        sgemm, turned if b_turned else plain, turned if a_turned else plain, n, m, k, alpha, b, ldb, a, lda,
        beta, c, ldc,
    )  # fmt: skip


@njit(nogil=True)
def linear(sgemm, x, weight, y, beta):
    """``y`` [N, R] = x Wᵀ + beta y, for ``x`` [N, C] and ``weight`` [R, C]."""
    R, C = weight.shape
    product(sgemm, False, True, x.shape[0], R, C, ONE, x.ctypes.data, C, weight.ctypes.data, C, beta,
            y.ctypes.data, R)  # fmt: skip
