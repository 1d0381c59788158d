import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aurelius.training.cpu_step.balance import shares


@given(st.lists(st.integers(1, 500), max_size=30), st.integers(1, 6))
def test_every_piece_is_in_one_share(costs: list[int], count: int):
    found = shares(costs, count)
    assert len(found) == count and all(share == sorted(share) for share in found)
    assert sorted(n for share in found for n in share) == list(range(len(costs)))
    # As no share is needlessly behind, the largest is at most the mean and one piece more.
    loads = [sum(costs[n] for n in share) for share in found]
    assert max(loads) <= sum(loads) / count + max(costs, default=0)


def test_the_stories_of_a_step_are_shared_evenly():
    """Four blocks have some nine stories of 50 to 400 tokens: two threads differ by under a percent."""
    random = np.random.default_rng(0)
    behind = []
    for _ in range(300):
        costs = random.integers(50, 400, 9).tolist()
        loads = [sum(costs[n] for n in share) for share in shares(costs, 2)]
        behind.append(2 * max(loads) / sum(loads) - 1)
    assert np.mean(behind) < 0.01
