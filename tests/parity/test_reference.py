from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from aurelius.parity import reference


def test_numpy_alone_gives_the_logits_of_transformers(tiny_run: Path, stories260k: Path):
    for folder in (tiny_run / "export/huggingface", stories260k):
        model = AutoModelForCausalLM.from_pretrained(folder)
        ids = torch.randint(4, model.config.vocab_size, (1, 40))
        with torch.no_grad():
            expected = model(ids).logits[0].numpy()
        assert np.abs(reference.logits(folder, ids[0].tolist()) - expected).max() < 2e-4


def test_it_stays_short_enough_to_read():
    assert len(Path(reference.__file__).read_text().splitlines()) <= 75
