import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from aurelius.corpus.readers.sources import open_path
from aurelius.errors import CorpusError
from aurelius.evaluation.likelihood import Stretch, measure, score, split_windows
from aurelius.inference.open_model import open_model
from aurelius.inference.run_model import RunModel
from aurelius.special_tokens import IGNORE_INDEX
from tests.evaluation.test_pairs import Bytes, likes


@given(
    st.integers(0, 200).map(lambda n: list(range(100, 100 + n))),
    st.sampled_from([[], [1], [1, 2], [1, 2, 3]]),
    st.integers(8, 40),
)
def test_every_id_is_scored_once_with_at_least_half_a_window_before_it(ids, prefix, context):
    windows = split_windows(0, ids, prefix, context)
    scored: list[int] = []
    for window in windows:
        assert len(window.inputs) == len(window.targets) <= context
        assert window.inputs[: len(prefix)] == prefix
        for place, target in enumerate(window.targets):
            if target == IGNORE_INDEX:
                continue
            scored.append(target)
            before, at = window.inputs[len(prefix) : place + 1], target - 100
            assert before == ids[at - len(before) : at], "what stands before it in the text"
            assert len(before) >= min(at, (context - len(prefix)) // 2)
    assert scored == (ids if prefix else ids[1:])


def reference(folder: Path, document: str, prefix: list[int]) -> tuple[float, float]:
    """Score a short document with stock transformers alone: nats of the text, and of its end."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = [*prefix, *tokenizer(document, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    with torch.no_grad():
        log = model(torch.tensor([ids])).logits.double().log_softmax(-1)[0]
    nats = [-float(log[i - 1, ids[i]]) for i in range(len(prefix), len(ids))]
    return sum(nats[:-1]), nats[-1]


def test_figures_are_those_of_stock_transformers(tiny_run: Path):
    documents = ["A cat sat.", "  Two  words \n", "One 🎈!"]  # short enough for one window; bytes untouched
    plain = measure(open_model(str(tiny_run), "cpu"), documents)
    assert {type(value) for value in vars(plain).values()} == {int, float}, "no NumPy types"
    size = sum(len(d.encode()) for d in documents)
    expected = [reference(tiny_run / "export/huggingface", d, [3, 0]) for d in documents]
    ours = measure(open_model(str(tiny_run), "cpu"), documents)
    exported = measure(open_model(str(tiny_run / "export/huggingface"), "cpu"), documents)
    for found in (ours, exported):
        assert found.bytes == size
        text, whole = sum(t for t, _ in expected), sum(t + e for t, e in expected)
        assert found.bits_per_byte_text == pytest.approx(text / size / math.log(2), rel=1e-5)
        assert found.bits_per_byte == pytest.approx(whole / size / math.log(2), rel=1e-5)
        assert found.nats_per_token == pytest.approx(whole / found.tokens, rel=1e-5)


def test_the_order_and_number_of_stories_do_not_matter(tiny_run: Path):
    model = open_model(str(tiny_run), "cpu")
    documents = ["A cat sat on a mat. " * n for n in (1, 9, 3, 30)]
    together = measure(model, documents)
    alone = [measure(model, [d]) for d in documents]
    nats = sum(one.bits_per_byte * one.bytes for one in alone)
    assert together.bits_per_byte == pytest.approx(nats / together.bytes, rel=1e-5)
    assert measure(model, documents[::-1]).bits_per_byte == pytest.approx(together.bits_per_byte, rel=1e-6)


def test_indifference_costs_the_logarithm_of_the_vocabulary(tiny_run: Path, monkeypatch: pytest.MonkeyPatch):
    model = RunModel(tiny_run)
    monkeypatch.setattr(model, "logits", lambda ids: torch.zeros(*ids.shape, 420))
    found = measure(model, ["A cat sat. " * 40])
    assert found.nats_per_token == pytest.approx(math.log(420), rel=1e-6)


@given(
    st.lists(st.text(max_size=300), min_size=1, max_size=4).filter(any),
    st.integers(8, 400),
    st.sampled_from([[], [256], [256, 256]]),
)
def test_stretches_are_the_texts_by_position(documents: list[str], context: int, prefix: list[int]):
    odd = torch.sin(torch.arange(258.0) ** 2)
    model = Bytes(lambda ids: odd.roll(1, 0)[ids, None] * odd, context)
    model.prefix = prefix
    found = score(model, documents)
    sizes = [len(text.encode()) for text in documents]
    assert sum(each.nats for each in found.stretches) == pytest.approx(found.text.sum(), rel=1e-9)
    assert sum(each.bytes for each in found.stretches) == pytest.approx(sum(sizes))
    assert [each.first for each in found.stretches] == [
        n for n in (0, 4, 16, 64, 128, 256, 512, 1024) if n < max(sizes)
    ]
    for each, following in zip(found.stretches, [4, 16, 64, 128, 256, 512, 1024, 1200], strict=False):
        assert each.tokens == sum(min(max(size - each.first, 0), following - each.first) for size in sizes)


@pytest.mark.parametrize("context", [12, 100, 2048])
def test_each_stretch_has_the_nats_of_its_own_tokens(context: int):
    liked, other = math.log(257 + math.e) - 1, math.log(257 + math.e)
    model = likes("z")
    model.context = context
    found = score(model, ["z" * 4 + "a" * 12 + "z" * 24 + "a" * 24 + "z" * 6, "za"]).stretches
    expected = [
        Stretch(0, 6, 5 * liked + other, 6.0),
        Stretch(4, 12, 12 * other, 12.0),
        Stretch(16, 48, 24 * liked + 24 * other, 48.0),
        Stretch(64, 6, 6 * liked, 6.0),
    ]
    for one, two in zip(found, expected, strict=True):
        assert vars(one) == pytest.approx(vars(two))
    assert found[1].as_json() == {
        "first_token": 4,
        "tokens": 12,
        "bits_per_byte": round(other / math.log(2), 4),
        "nats_per_token": round(other, 4),
    }


def test_stretches_of_a_real_model_add_up(tiny_run: Path):
    model = open_model(str(tiny_run), "cpu")
    documents = ["A cat sat on a mat. " * 60, "One 🎈!", "", "A dog’s “bone” was gone. " * 3]
    found = score(model, documents)
    assert len(model.encode(documents[0])) > 4 * model.context
    assert sum(each.nats for each in found.stretches) == pytest.approx(found.text.sum(), rel=1e-9)
    assert sum(each.bytes for each in found.stretches) == pytest.approx(found.sizes.sum())
    assert sum(each.tokens for each in found.stretches) == sum(len(model.encode(text)) for text in documents)


def test_nothing_to_measure(tiny_run: Path):
    with pytest.raises(CorpusError, match="nothing to measure"):
        measure(open_model(str(tiny_run), "cpu"), [""])


def test_stories260k_begins_as_llama2c_does(stories260k: Path):
    model = open_model(str(stories260k), "cpu")
    assert (model.prefix, model.end, model.vocab_size, model.parameters) == ([1], 2, 512, 260_032)


@pytest.mark.long
def test_stories260k_scores_what_an_independent_evaluator_found(stories260k: Path, valid_sample: Path):
    documents = list(open_path(valid_sample).stories)
    found = measure(open_model(str(stories260k), "cpu"), documents)
    # Golden: 0.918 on other stories of the same file, text alone, by an independent evaluator (docs/log.md).
    assert found.bits_per_byte_text == pytest.approx(0.918, abs=0.02)
    assert found.bytes == sum(len(d.encode()) for d in documents)
    assert found.documents_with_unknown == 0
