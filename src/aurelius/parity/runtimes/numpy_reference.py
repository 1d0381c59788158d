"""The NumPy reference, which shows that the Hugging Face folder says everything."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from aurelius.parity import reference
from aurelius.parity.runtime import Answers, Runtime, Task
from aurelius.run_paths import RunPaths


def find(run: Path) -> Iterator[Runtime | str]:
    """Yield the runtime with a run's weights."""
    folder = RunPaths(run).huggingface

    def answer(task: Task) -> Answers:
        return Answers(version("numpy"), [reference.logits(folder, ids) for ids in task.sequences])

    yield Runtime("numpy", "huggingface", "fp32", folder / "model.safetensors", answer)
