import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from aurelius.model.elementwise import exp_negative, exponentiate


@njit
def _exp(values: np.ndarray) -> np.ndarray:
    result = np.empty_like(values)
    for i in range(values.size):
        result[i] = exp_negative(values[i])
    return result


def test_the_exponential_has_float32s_digits():
    values = np.concatenate([np.linspace(-87, 0, 200_001), [-0.0, -1e-30, -(2.0**-24)]]).astype(np.float32)
    exact = np.exp(values.astype(np.float64))
    assert np.abs(_exp(values) / exact - 1).max() < 5e-7
    tiny = _exp(np.array([-88, -1e30, -np.inf], np.float32))
    assert (tiny >= 0).all() and (tiny < 2e-38).all()
    assert np.isnan(_exp(np.array([np.nan], np.float32))).all(), "a diverging training is recognised by it"


@given(st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=150))
def test_a_row_is_exponentiated_from_its_maximum(values: list[float]):
    row = np.array(values, np.float32)
    exact = np.exp(row.astype(np.float64) - row.max())
    highest, total = exponentiate(row)
    assert highest == np.float32(max(values)) and np.isclose(total, exact.sum(), rtol=1e-5)
    assert np.allclose(row, exact, rtol=1e-5, atol=2e-38)
