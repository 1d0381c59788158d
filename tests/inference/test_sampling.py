from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from aurelius.inference.sampling import Sampling, candidates, sample_next_token


@given(
    seed=st.integers(0, 1000),
    temperature=st.floats(0.1, 2),
    top_k=st.integers(1, 60),
    top_p=st.floats(0.05, 0.999),
    min_p=st.floats(0, 1),
)
def test_the_distribution_is_transformers(seed, temperature, top_k, top_p, min_p):
    logits = torch.randn(50, generator=torch.Generator().manual_seed(seed)) * 3
    warpers = LogitsProcessorList(
        [
            TemperatureLogitsWarper(temperature),
            TopKLogitsWarper(min(top_k, 50)),
            TopPLogitsWarper(top_p),
            MinPLogitsWarper(min_p),
        ]
    )
    ids: Any = torch.zeros(1, 1, dtype=torch.long)
    expected = warpers(ids, logits[None].clone())[0].softmax(-1)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    ids_found, weights = candidates(logits.numpy(), sampling)
    found = np.zeros(50)
    found[ids_found] = weights / weights.sum()
    assert found == pytest.approx(expected.numpy(), abs=1e-5)


def test_temperature_zero_takes_the_likeliest():
    logits, dice = np.array([0.0, 3.0, 2.9]), np.random.default_rng(0)
    assert {sample_next_token(logits, Sampling(temperature=0), dice) for _ in range(20)} == {1}


@pytest.mark.parametrize("top_p", [1.0, 0.999])
def test_draws_follow_the_probabilities(top_p: float):
    logits, dice = np.array([0.0, 1.0, -np.inf]), np.random.default_rng(0)
    sampling = Sampling(temperature=1, min_p=0, top_p=top_p)
    draws = [sample_next_token(logits, sampling, dice) for _ in range(3000)]
    assert draws.count(1) / 3000 == pytest.approx(0.7311, abs=0.03)
    assert 2 not in draws
