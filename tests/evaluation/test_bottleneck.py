import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aurelius.errors import CorpusError
from aurelius.evaluation.bottleneck import anisotropy, effective_rank, measure_bottleneck
from aurelius.evaluation.contexts import contexts
from aurelius.inference.language_model import Inside
from aurelius.inference.open_model import open_model
from tests.evaluation.test_sinks import Shown

D, LENGTH = 12, 128
DOCUMENTS = [f"{n} cats sat on {99 - n} mats. " * 9 for n in range(10, 30)]


def of_width(head: Tensor) -> Shown:
    """Return a model with a head [V, D] and, after each token, the random states of that token."""
    states = torch.randn(3, 258, head.shape[1])

    def inside(ids: Tensor) -> Inside:
        return Inside(states[:, ids], torch.zeros(2, len(ids), 1, ids.shape[1], ids.shape[1]))

    return Shown(inside, head)


def predictions(model: Shown) -> tuple[Tensor, Tensor]:
    """Return the logits [N, V], and the tokens [N] of the texts that they are for."""
    ids = contexts(model, DOCUMENTS, LENGTH, 32)
    return model.logits(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()


def test_singular_values_are_those_of_head_and_logits():
    model = of_width(torch.randn(258, D))
    found, (logits, _) = measure_bottleneck(model, DOCUMENTS), predictions(model)
    assert found.positions == len(logits) == 20 * (LENGTH - 1)
    assert found.head == pytest.approx(np.linalg.svd(model.head().numpy(), compute_uv=False), rel=1e-5)
    all_of_them = np.linalg.svd(logits.double().numpy(), compute_uv=False)
    assert found.logits == pytest.approx(all_of_them[:D], rel=1e-5)
    assert all_of_them[D:] == pytest.approx(0, abs=1e-3), "there are no others: that is the bottleneck"


def test_the_loss_at_each_rank_is_that_of_the_closest_head_of_this_rank():
    model = of_width(torch.randn(258, D))
    found, (logits, targets) = measure_bottleneck(model, DOCUMENTS), predictions(model)
    assert found.ranks == [1, 2, 4, 8, D]
    assert found.losses[-1] == pytest.approx(F.cross_entropy(logits, targets).item(), rel=1e-5)
    whole = model.head()
    u, s, vt = np.linalg.svd(whole.numpy(), full_matrices=False)
    for rank, loss in zip(found.ranks, found.losses, strict=True):
        model.weights = torch.from_numpy((u[:, :rank] * s[:rank]) @ vt[:rank])
        assert loss == pytest.approx(F.cross_entropy(predictions(model)[0], targets).item(), rel=1e-4)


@pytest.mark.parametrize("width, ranks", [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (9, [1, 2, 4, 8, 9])])
def test_ranks_are_powers_of_two_and_the_width(width: int, ranks: list[int]):
    assert measure_bottleneck(of_width(torch.randn(258, width)), DOCUMENTS).ranks == ranks


def test_a_head_of_rank_3_needs_no_more():
    found = measure_bottleneck(of_width(torch.randn(258, 3) @ torch.randn(3, D)), DOCUMENTS)
    one, two, four, eight, full = found.losses
    assert four == pytest.approx(full, rel=1e-5) and eight == pytest.approx(full, rel=1e-5)
    assert abs(two - full) > 0.01 and one != two
    assert effective_rank(found.head) < 3.001 and effective_rank(found.logits) < 3.001


def test_the_loss_of_a_real_model_at_full_rank_is_its_own(tiny_run: Path):
    model = open_model(str(tiny_run), "cpu")
    found, ids = measure_bottleneck(model, DOCUMENTS), contexts(model, DOCUMENTS, 48, 32)
    assert ids[:, :2].tolist() == [[3, 0]] * 20
    expected = F.cross_entropy(model.logits(ids)[:, 1:-1].flatten(0, 1), ids[:, 2:].flatten())
    assert found.losses[-1] == pytest.approx(expected.item(), rel=1e-5)
    assert (len(found.head), found.ranks, len(found.anisotropy)) == (32, [1, 2, 4, 8, 16, 32], 3)
    figures = json.loads(json.dumps(found.as_json()))
    assert figures["width"] == 32 and list(figures["nats_per_token_by_rank"]) == list(map(str, found.ranks))


@given(st.integers(1, 50), st.floats(1e-3, 1e3), st.integers(0, 5))
def test_the_effective_rank_of_equal_values_is_their_number(count: int, value: float, zeros: int):
    values = np.array([value] * count + [0.0] * zeros)
    assert effective_rank(values) == pytest.approx(count)


def test_effective_ranks():
    assert effective_rank(np.array([3.0, 0, 0])) == pytest.approx(1)
    # Golden: 2 ** 1.5 by hand: the shares 1/2, 1/4, 1/4 have an entropy of 1.5 bits.
    assert effective_rank(np.array([2.0, 1, 1])) == pytest.approx(2**1.5)


def test_anisotropy_is_the_mean_cosine_of_pairs():
    random = np.random.default_rng(0)
    assert anisotropy(random.normal(size=(2000, 50))) == pytest.approx(0, abs=1e-3)
    assert anisotropy(np.outer(random.uniform(1, 2, 30), random.normal(size=5))) == pytest.approx(1)
    assert anisotropy(np.array([[1.0, 0], [-2.0, 0]])) == pytest.approx(-1)
    vectors = random.normal(size=(9, 4)) + 0.5
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = [unit[a] @ unit[b] for a in range(9) for b in range(a)]
    assert anisotropy(vectors) == pytest.approx(np.mean(cosines))


def test_anisotropy_is_of_each_layer():
    model = of_width(torch.randn(258, D))
    found = measure_bottleneck(model, DOCUMENTS)
    ids = contexts(model, DOCUMENTS, LENGTH, 32)
    expected = [anisotropy(layer.flatten(0, 1).numpy()) for layer in model.inside(ids[:, :-1]).hidden]
    assert found.anisotropy == pytest.approx(expected, rel=1e-4)


def test_stories_that_are_all_too_short_are_refused():
    with pytest.raises(CorpusError, match="no document is at least 128 tokens long; 1 checked"):
        measure_bottleneck(of_width(torch.randn(258, D)), ["a" * 126])
