"""Matrix products for the gradients, with tiles of the result kept in vector registers.

BLAS copies both matrices of a product into panels first, which costs a tenth of the time where one side is as
narrow as our models. Here only the right-hand one is copied, a panel at a time; numbers of the left-hand one
are broadcast from where they are (tiles and panels: Van Zee and Van de Geijn 2015, "BLIS"). Vectors are those
of AVX-512 or AVX2. On other processors, and for columns that fill no panel, BLAS is used.
"""

from typing import Any

from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from aurelius.model.elementwise import FAST, ONE, ZERO
from aurelius.training.cpu_step.blas import product

_FEATURES = binding.get_host_cpu_features()
AVX512, AVX2 = (_FEATURES.get(name, False) for name in ("avx512f", "avx2"))
LANES = 16 if AVX512 else 8
ROWS, VECTORS = 6, 4 if AVX512 else 2  # of a tile: its sums fill most registers
NARROW = LANES * VECTORS // 2  # columns of half a panel
WIDE = 2 * NARROW
DEPTH = 256  # rows of a panel, which then fits the cache


def _tile(rows: int, vectors: int) -> Any:
    """Return a function that computes a tile [rows, vectors x LANES] of a product; all sizes in bytes."""

    @intrinsic
    def tile(context, a, a_row, a_step, panel, c, c_row, depth, accumulate):
        address = types.intp
        signature = types.void(*[address] * 7, types.boolean)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _generate(context, builder, arguments, rows, vectors)

        return signature, generate

    return tile


def _generate(context: Any, builder: Any, arguments: Any, rows: int, vectors: int) -> Any:
    a, a_row, a_step, panel, c, c_row, depth, accumulate = arguments
    number, size = ir.FloatType(), ir.IntType(64)
    vector = ir.VectorType(number, LANES)
    nothing = ir.Constant(vector, ir.Undefined)
    first, lanes = (
        ir.Constant(ir.IntType(32), 0),
        ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES),
    )
    kind = ir.FunctionType(vector, [vector] * 3)
    multiply_add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")

    def load(kind: Any, address: Any) -> Any:
        value = builder.load(builder.inttoptr(address, kind.as_pointer()))
        value.align = 4
        return value

    def shifted(address: Any, count: int) -> Any:
        return builder.add(address, ir.Constant(size, 4 * LANES * count))

    starts = [a]
    for _ in range(rows - 1):
        starts.append(builder.add(starts[-1], a_row))
    before, loop, done = (
        builder.block,
        builder.append_basic_block("depth"),
        builder.append_basic_block("done"),
    )
    builder.branch(loop)
    builder.position_at_end(loop)
    at, offset, right = builder.phi(size), builder.phi(size), builder.phi(size)
    sums = [[builder.phi(vector) for _ in range(vectors)] for _ in range(rows)]
    columns = [load(vector, shifted(right, v)) for v in range(vectors)]
    new = []
    for r in range(rows):
        value = load(number, builder.add(starts[r], offset))
        left = builder.shuffle_vector(builder.insert_element(nothing, value, first), nothing, lanes)
        new.append([builder.call(multiply_add, [left, columns[v], sums[r][v]]) for v in range(vectors)])
    steps = [
        (at, ir.Constant(size, 0), builder.add(at, ir.Constant(size, 1))),
        (offset, ir.Constant(size, 0), builder.add(offset, a_step)),
        (right, panel, shifted(right, vectors)),
    ]
    zero = ir.Constant(vector, [0.0] * LANES)
    steps += [(sums[r][v], zero, new[r][v]) for r in range(rows) for v in range(vectors)]
    builder.cbranch(builder.icmp_signed("<", steps[0][2], depth), loop, done)
    for phi, initial, later in steps:
        phi.add_incoming(initial, before)
        phi.add_incoming(later, loop)
    builder.position_at_end(done)

    def store(add: bool) -> None:
        row = c
        for r in range(rows):
            for v in range(vectors):
                target = shifted(row, v)
                value = builder.fadd(load(vector, target), new[r][v]) if add else new[r][v]
                builder.store(value, builder.inttoptr(target, vector.as_pointer())).align = 4
            row = builder.add(row, c_row)

    with builder.if_else(accumulate) as (adding, setting):
        with adding:
            store(True)
        with setting:
            store(False)
    return context.get_dummy_value()


_wide, _narrow = _tile(ROWS, VECTORS), _tile(ROWS, VECTORS // 2)
_wide_row, _narrow_row = _tile(1, VECTORS), _tile(1, VECTORS // 2)


@njit(**FAST)
def tiled(sgemm, a_turned, m, n, k, a, lda, b, accumulate, c, panel):
    """C [m, n] = A B, or added to it; A is [m, k], or [k, m] if turned, B [k, n].

    The matrices are float32 and row-major. ``a`` is the address of A, which has ``lda`` elements in a row;
    ``b`` and ``c`` are arrays, and ``panel`` has room for [DEPTH, WIDE].
    """
    full = n // NARROW * NARROW if AVX2 or AVX512 else 0  # columns in panels
    a_row, a_step = (4, 4 * lda) if a_turned else (4 * lda, 4)
    flat = b.reshape(-1)
    for above in range(0, k, DEPTH):
        depth = min(DEPTH, k - above)
        add = accumulate or above > 0
        left = 0
        while left < full:
            width = WIDE if full - left >= WIDE else NARROW
            for i in range(depth):
                source = (above + i) * n + left
                for j in range(width):
                    panel[i * width + j] = flat[source + j]
            row = 0
            while row < m:
                at = a + row * a_row + above * a_step
                target = c.ctypes.data + 4 * (row * n + left)
                whole = m - row >= ROWS
                if width == WIDE:
                    if whole:
                        _wide(at, a_row, a_step, panel.ctypes.data, target, 4 * n, depth, add)
                    else:
                        _wide_row(at, a_row, a_step, panel.ctypes.data, target, 4 * n, depth, add)
                elif whole:
                    _narrow(at, a_row, a_step, panel.ctypes.data, target, 4 * n, depth, add)
                else:
                    _narrow_row(at, a_row, a_step, panel.ctypes.data, target, 4 * n, depth, add)
                row += ROWS if whole else 1
            left += width
    if full < n:
        product(sgemm, a_turned, False, m, n - full, k, ONE, a, lda, b.ctypes.data + 4 * full, n,
                ONE if accumulate else ZERO, c.ctypes.data + 4 * full, n)  # fmt: skip


@njit(**FAST)
def linear_input_gradient(sgemm, dy, weight, dx, panel):
    """``dx`` [N, C] = dy W, for ``dy`` [N, R] and ``weight`` [R, C]."""
    R, C = weight.shape
    tiled(sgemm, False, dy.shape[0], C, R, dy.ctypes.data, R, weight, False, dx, panel)


@njit(**FAST)
def add_weight_gradient(sgemm, dy, x, dweight, panel):
    """``dweight`` [R, C] += dyᵀ x, for ``dy`` [N, R] and ``x`` [N, C]."""
    R, C = dweight.shape
    tiled(sgemm, True, R, C, dy.shape[0], dy.ctypes.data, R, x, True, dweight, panel)
