"""transformers, as everybody loads the Hugging Face folder."""

import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from aurelius.inference.transformers_model import TransformersModel
from aurelius.parity.runtime import Answers, Runtime, Task
from aurelius.run_paths import RunPaths


def find(run: Path) -> Iterator[Runtime | str]:
    """Yield the runtime with a run's weights."""
    folder = RunPaths(run).huggingface
    weights = folder / "model.safetensors"
    yield Runtime("transformers", "huggingface", "fp32", weights, lambda task: _answer(folder, task))


@torch.no_grad()
def _answer(folder: Path, task: Task) -> Answers:
    stock = TransformersModel(str(folder), "cpu")
    logits = [stock.logits(torch.tensor([ids]))[0].numpy() for ids in task.sequences]
    greedy: list[list[int]] = []
    started = time.perf_counter()
    for opening in task.openings:
        output = stock.model.generate(
            torch.tensor([opening]),
            do_sample=False,
            max_length=None,  # the folder's own, which would be warned about
            max_new_tokens=task.max_new_tokens,
        )
        greedy.append(output[0, len(opening) :].tolist())
    seconds = time.perf_counter() - started
    # Typed special tokens as text, as in our corpus and prompts; the published default parses them.
    ids = [stock.tokenizer(text, split_special_tokens=True, verbose=False).input_ids for text in task.texts]
    return Answers(version("transformers"), logits, ids, greedy, seconds)
