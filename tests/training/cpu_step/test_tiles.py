import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aurelius.training.cpu_step import tiles
from aurelius.training.cpu_step.blas import sgemm_address

SIZES = st.one_of(st.integers(1, 40), st.integers(250, 270), st.sampled_from([64, 96, 128, 512, 520]))


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, SIZES, st.booleans(), st.booleans())
@example(7, 96, 300, True, True)
@example(12, 160, 257, False, False)
def test_products_are_numpys(m: int, n: int, k: int, turned: bool, accumulate: bool):
    random = np.random.default_rng(m * n * k)
    a, b, c = (random.standard_normal(s, np.float32) for s in ((k, m) if turned else (m, k), (k, n), (m, n)))
    exact = (a.T if turned else a).astype(float) @ b + (c if accumulate else 0)
    panel = np.empty(tiles.DEPTH * tiles.WIDE, np.float32)
    tiles.tiled(sgemm_address(), turned, m, n, k, a.ctypes.data, a.shape[1], b, accumulate, c, panel)
    assert np.allclose(c, exact, rtol=1e-4, atol=1e-4)
