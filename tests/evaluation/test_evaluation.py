import json
import math
from pathlib import Path

import pytest
import torch

from aurelius.data.blocks import Blocks
from aurelius.data.store import TokenStore
from aurelius.data.stories import read_stories
from aurelius.evaluation.packed import measure_packed
from aurelius.inference.open_model import open_model
from aurelius.inference.packed_loss import packed_loss
from aurelius.inference.run_model import RunModel
from aurelius.special_tokens import BOS


def test_the_report_says_what_was_measured_on_what(tiny_run: Path):
    report = json.loads((tiny_run / "evaluation/report.json").read_text())
    assert report["documentwise"]["documents"] == 3
    assert "cleaned" in report["documents"]
    packed = report["packed"]
    assert packed["perplexity_with_begin"] == pytest.approx(
        math.exp(packed["nats_per_token_with_begin"]), rel=1e-3
    )
    for sample in report["samples"]:
        assert sample["text"].startswith(sample["prompt"])


def test_packed_loss_counts_begin_only_for_the_card(tiny_run: Path):
    model = RunModel(tiny_run, "cpu")
    blocks = Blocks(TokenStore.open(tiny_run / "tokens", "valid"), model.context, 0)
    found = packed_loss(model.logits, blocks, 5)
    plain, card = [], []
    for number in range(found.blocks):
        inputs, _ = blocks.batch(number, 1)
        with torch.no_grad():
            log = model.logits(torch.from_numpy(inputs)).log_softmax(-1)[0]
        for position, target in enumerate(blocks.piece(number).tolist()):
            nats = -float(log[position, target])
            card.append(nats)
            if target != BOS:
                plain.append(nats)
    assert found.blocks == min(5, blocks.per_epoch)
    assert found.loss == pytest.approx(sum(plain) / len(plain), rel=1e-5)
    assert found.loss_with_begin == pytest.approx(sum(card) / len(card), rel=1e-5)


def test_packed_loss_of_documents_is_that_of_the_token_store(tiny_run: Path):
    documents = read_stories(tiny_run / "corpus", "valid")
    run, exported = (open_model(str(f), "cpu") for f in (tiny_run, tiny_run / "export/huggingface"))
    stored = Blocks(TokenStore.open(tiny_run / "tokens", "valid"), run.context, 0)
    found = measure_packed(run, documents)
    assert found == packed_loss(run.logits, stored)
    again = measure_packed(exported, documents)
    assert again is not None and found is not None
    assert again.loss == pytest.approx(found.loss, rel=1e-5)
    assert measure_packed(run, ["One."]) is None, "fills no block"
