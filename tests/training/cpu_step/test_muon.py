import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelius.training.cpu_step.blas import sgemm_address
from aurelius.training.cpu_step.muon import update
from aurelius.training.optim.muon import Muon


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 3, 16, 40, 70]), st.sampled_from([1, 5, 32, 90])
)
def test_an_update_is_that_of_the_plain_muon(down: int, across: int, rows: int, columns: int):
    random = torch.Generator().manual_seed(rows * columns)
    start = torch.randn(down * rows, across * columns, generator=random)
    parameter = torch.nn.Parameter(start.clone())
    plain = Muon([{"params": [parameter], "heads": (down, across)}], 0.02, 0.1, 0.95)
    weight, average = start.numpy().copy(), np.zeros(start.shape, np.float32)
    rates = [np.float32(value) for value in (0.02, 0.1, 0.95)]
    for _ in range(3):
        gradient = torch.randn(start.shape, generator=random)
        parameter.grad = gradient.clone()
        plain.step()
        update(sgemm_address(), weight, gradient.numpy(), average, down, across, *rates)
    changed = np.abs(parameter.detach().numpy() - start.numpy()).max()
    assert np.abs(weight - parameter.detach().numpy()).max() <= 1e-4 * changed
    assert np.allclose(average, plain.state[parameter]["momentum_buffer"], rtol=1e-5, atol=1e-7)
