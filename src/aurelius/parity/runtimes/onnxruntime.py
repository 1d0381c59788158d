"""ONNX Runtime, on a CPU."""

import json
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurelius.export.onnx import kind_of
from aurelius.model.hf_folder import read_shape
from aurelius.parity.runtime import THREADS, Answers, Runtime, Task, finished_files


def find(run: Path) -> Iterator[Runtime | str]:
    """Yield the runtime with each of a run's ONNX files, or why it is skipped."""
    files = [(kind, path) for path in finished_files(run, "onnx") if (kind := kind_of(path.name))]
    if not files:
        yield "onnxruntime: no ONNX files; aurelius export RUN --to onnx writes them"
    elif find_spec("onnxruntime") is None:
        yield "onnxruntime: not installed (pip install 'aurelius-lm[onnx]')"
    else:
        for kind, path in files:
            yield Runtime("onnxruntime", "onnx", kind, path, lambda task, path=path: _answer(path, task))


def _answer(path: Path, task: Task) -> Answers:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    config = path.parents[1] / "config.json"
    shape = read_shape(config.parent, json.loads(config.read_text()))
    empty = np.zeros((1, shape.kv_heads, 0, shape.head_dim), np.float32)
    names = [f"past_key_values.{n}.{part}" for n in range(shape.layers) for part in ("key", "value")]

    def forward(ids: list[int], past: list[NDArray[np.float32]]) -> tuple[Any, list[Any]]:
        length = past[0].shape[2]
        inputs = {
            "input_ids": np.array([ids]),
            "attention_mask": np.ones((1, length + len(ids)), np.int64),
            "position_ids": np.arange(length, length + len(ids))[None],
        }
        outputs: list[Any] = list(session.run(None, inputs | dict(zip(names, past, strict=True))))
        return outputs[0][0], outputs[1:]

    def story(opening: list[int]) -> list[int]:
        greedy: list[int] = []
        rows, past = forward(opening, [empty] * len(names))
        while len(greedy) < task.max_new_tokens:
            greedy.append(int(rows[-1].argmax()))
            if greedy[-1] == task.end:
                break
            rows, past = forward(greedy[-1:], past)
        return greedy

    logits = [forward(ids, [empty] * len(names))[0] for ids in task.sequences]
    started = time.perf_counter()
    greedy = [story(opening) for opening in task.openings]
    return Answers(onnxruntime.__version__, logits, None, greedy, time.perf_counter() - started)
