import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from aurelius.errors import CorpusError
from aurelius.evaluation.contexts import contexts
from aurelius.evaluation.sinks import measure_sinks
from aurelius.inference.language_model import Inside
from aurelius.inference.open_model import open_model
from tests.evaluation.test_pairs import Bytes

L, H, T, D = 2, 4, 64, 3
DOCUMENTS = [chr(97 + n) * 80 for n in range(20)]


class Shown(Bytes):
    """A language model that shows what a test makes up, and whose logits follow from it."""

    def __init__(self, inside: Callable[[Tensor], Inside], head: Tensor | None = None, context: int = 2048):
        self.weights = torch.zeros(258, D) if head is None else head
        super().__init__(lambda ids: inside(ids).hidden[-1] @ self.weights.T, context)
        self._inside = inside

    def inside(self, ids: Tensor) -> Inside:
        return self._inside(ids)

    def head(self) -> Tensor:
        return self.weights


def attending(pattern: Tensor) -> Shown:
    """Return a model whose attention is a pattern [L, H, T, T]; states are as long as layer and place say."""

    def inside(ids: Tensor) -> Inside:
        B, T = ids.shape
        lengths = torch.outer(torch.arange(1.0, L + 2), torch.arange(1.0, T + 1))
        hidden = torch.zeros(L + 1, B, T, D)
        hidden[..., 1] = lengths[:, None]
        return Inside(hidden, pattern[:, None].expand(-1, B, -1, -1, -1))

    return Shown(inside)


def causal(scores: Tensor) -> Tensor:
    return scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf).softmax(-1)


def test_attention_to_one_position_is_a_sink():
    for place, expected in enumerate(([1.0, 0.0], [0.0, 1.0])):
        scores = torch.zeros(L, H, T, T)
        scores[..., place] = 100.0
        found = measure_sinks(attending(causal(scores)), DOCUMENTS)
        assert found.metric.tolist() == expected
        assert found.attention[place] == pytest.approx(np.ones((L, H)))
        assert found.as_json()["sink_metric"] == {"token 256": expected[0], "first token": expected[1]}


def test_even_attention_has_no_sink():
    found = measure_sinks(attending(causal(torch.zeros(L, H, T, T))), DOCUMENTS)
    share = np.mean([1 / (query + 1) for query in range(2, T)])
    assert found.metric.tolist() == [0, 0]
    assert found.attention == pytest.approx(np.tile([[[share]], [[share]], [[1 - 2 * share]]], (1, L, H)))


def test_the_metric_is_the_share_of_heads_that_are_sinks():
    scores = torch.zeros(L, H, T, T)
    scores[0, 1, :, 0] = scores[1, 1, :, 0] = scores[1, 2, :, 1] = 100.0
    assert measure_sinks(attending(causal(scores)), DOCUMENTS).metric.tolist() == [2 / 8, 1 / 8]


@pytest.mark.parametrize("share, expected", [(0.299, 0), (0.301, 1)])
def test_a_sink_gets_more_than_0_3_from_those_who_see_it(share: float, expected: int):
    pattern = torch.eye(T).repeat(L, H, 1, 1)
    pattern[..., 1:, 0], pattern[..., 1:, 1] = 1 - share, share
    assert measure_sinks(attending(pattern), DOCUMENTS).metric.tolist() == [1, expected]


def test_each_context_and_head_may_have_a_sink():
    """Gu et al. 2024, in loops: compute_attention_sink in github.com/sail-sg/Attention-Sink."""
    bias = torch.zeros(L, H, 1, T)
    bias[..., 0] = torch.linspace(0, 6, L * H).view(L, H, 1)
    patterns = {ord("a") + n: causal(bias + 2 * torch.randn(L, H, T, T)) for n in range(20)}

    def inside(ids: Tensor) -> Inside:
        hidden = torch.zeros(L + 1, *ids.shape, D)
        return Inside(hidden, torch.stack([patterns[int(row[1])] for row in ids], 1))

    found = measure_sinks(Shown(inside), DOCUMENTS)
    assert (found.contexts, found.length) == (20, T)
    for place in range(2):
        sinks = [
            sum(float(pattern[layer, head, query, place]) for query in range(place, T)) / (T - place) > 0.3
            for pattern in patterns.values()
            for layer in range(L)
            for head in range(H)
        ]
        assert found.metric[place] == pytest.approx(np.mean(sinks))
    assert 0.2 < found.metric[0] < 0.8


def test_the_lengths_of_hidden_states_enter_by_layer_and_position():
    found = measure_sinks(attending(causal(torch.zeros(L, H, T, T))), DOCUMENTS)
    others = np.mean(range(3, T + 1))
    assert found.norms.tolist() == [[1.0, 2.0], [2.0, 4.0], [others, 2 * others]]


def test_a_real_model_names_what_comes_before_its_text(tiny_run: Path):
    model, documents = open_model(str(tiny_run), "cpu"), ["One day a cat sat on a mat. " * 9] * 3
    found = measure_sinks(model, documents)
    assert found.names == ["<sink>", "<s>", "first token"]
    assert (found.contexts, found.length) == (3, 48), "the tiny model has no more context"
    assert found.attention.sum(0) == pytest.approx(np.ones((2, 4)))
    figures = json.loads(json.dumps(found.as_json()))
    assert list(figures["attention"]) == [*found.names, "others"]
    assert sum(figures["attention"].values()) == pytest.approx(1, abs=1e-3)


def test_stories_that_are_too_short_are_left_out():
    model = attending(causal(torch.zeros(L, H, T, T)))
    assert measure_sinks(model, ["short", *DOCUMENTS[:3], "a" * 63]).contexts == 4
    with pytest.raises(CorpusError, match="no document is at least 64 tokens long; 2 checked"):
        measure_sinks(model, ["short", "a" * 62])


def test_contexts_are_beginnings_of_different_documents():
    model = attending(causal(torch.zeros(L, H, T, T)))
    ids = contexts(model, DOCUMENTS, 10, 8)
    assert ids.shape == (8, 10) and ids[:, 0].tolist() == [256] * 8
    texts = [model.decode(row) for row in ids.tolist()]
    assert len(set(texts)) == 8 and all(any(d.startswith(text) for d in DOCUMENTS) for text in texts)
    assert torch.equal(ids, contexts(model, DOCUMENTS, 10, 8)), "the same seed"
    assert not torch.equal(ids, contexts(model, DOCUMENTS, 10, 8, seed=1))
    assert len(contexts(model, DOCUMENTS, 10, 99)) == 20
