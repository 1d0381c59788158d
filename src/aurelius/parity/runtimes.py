"""The runtimes that load what is exported, each asked the same questions.

Those in JavaScript run in a process of their own, in the folder whose ``node_modules`` has them.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aurelius.errors import ModelError
from aurelius.export.target import ONNX_DTYPES, ONNX_FILES
from aurelius.inference.models import TransformersModel
from aurelius.model.hf_folder import read_shape
from aurelius.parity import reference
from aurelius.pipeline.manifest import Manifest

THREADS = 2
HOURGLASS = 1800  # seconds a runtime in JavaScript may take
PACKAGES = {"transformers.js": "@huggingface/transformers", "llama.cpp": "node-llama-cpp"}


@dataclass(frozen=True)
class Task:
    """What is asked: the ids of texts, the logits of sequences, and a greedy story after each opening.

    llama.cpp has no normalizer; it is asked for the texts as they are ``normalised``. A story ends with
    ``end``, or at ``count`` tokens.
    """

    texts: list[str]
    normalised: list[str]
    sequences: list[list[int]]
    openings: list[list[int]]
    end: int | None
    count: int
    context: int
    vocab_size: int


@dataclass(frozen=True)
class Answers:
    """What a runtime answered; None where it does not do such a thing. ``logits`` are [T, V] each."""

    version: str
    logits: list[NDArray[np.float32]]
    ids: list[list[int]] | None = None
    greedy: list[list[int]] | None = None
    seconds: float = 0.0  # of the greedy stories


@dataclass(frozen=True)
class Runtime:
    """A runtime with one file to load. ``adds`` says whether its ids begin with ``<sink> <s>``."""

    name: str
    kind: str  # of the file: fp32, F16, ...
    path: Path
    answer: Callable[[Task], Answers]
    adds: bool = True


def found(run: Path) -> Iterator[Runtime | str]:
    """Yield the installed runtimes with each file of a run's exports, and why others are left out."""
    folder = run / "export" / "huggingface"
    weights = folder / "model.safetensors"
    yield Runtime("numpy", "fp32", weights, lambda task: _numpy(folder, task))
    yield Runtime("transformers", "fp32", weights, lambda task: _transformers(folder, task))
    onnx = written(run / "export/onnx", ".onnx")
    files = {kind: path for kind, name in ONNX_FILES.items() for path in onnx if path.stem == name}
    if not files:
        yield "onnxruntime, transformers.js: no ONNX files; aurelius export RUN --to onnx writes them"
    elif find_spec("onnxruntime") is None:
        yield "onnxruntime: not installed (pip install 'aurelius-lm[onnx]')"
    else:
        for kind, path in files.items():
            yield Runtime("onnxruntime", kind, path, lambda task, path=path: _onnxruntime(path, task))
    for kind, path in files.items():
        options = {"model": str((run / "export/onnx").absolute()), "kind": ONNX_DTYPES[kind]}
        yield from _in_node("transformers.js", kind, path, options, "transformers_js.mjs")
    ggufs = written(run / "export/gguf", ".gguf")
    if not ggufs:
        yield "llama.cpp: no GGUF files; aurelius export RUN --to gguf writes them"
    for path in ggufs:
        kind = path.stem.rsplit("-", 1)[-1]
        yield from _in_node("llama.cpp", kind, path, {"model": str(path.absolute())}, "llama_cpp.mjs", False)


def written(folder: Path, suffix: str) -> list[Path]:
    """Return the files of one kind that a finished stage wrote, by name."""
    manifest = Manifest.read(folder)
    return sorted(folder / name for name in manifest.outputs if name.endswith(suffix)) if manifest else []


def node_folder(package: str) -> Path | None:
    """Return the nearest folder, from the current one up, whose ``node_modules`` has a package."""
    here = Path(os.environ.get("AURELIUS_NODE", ".")).absolute()
    return next((up for up in (here, *here.parents) if (up / "node_modules" / package).is_dir()), None)


def _in_node(
    name: str, kind: str, path: Path, options: dict[str, Any], script: str, adds: bool = True
) -> Iterator[Runtime | str]:
    package = PACKAGES[name]
    folder = node_folder(package)
    if folder is None or not shutil.which("node"):
        advice = f"npm install {package}" if shutil.which("node") else "Node.js is missing"
        yield f"{name}: not here ({advice})"
        return
    yield Runtime(name, kind, path, lambda task: _node(folder, script, options, task), adds)


def _node(folder: Path, script: str, options: dict[str, Any], task: Task) -> Answers:
    with TemporaryDirectory() as temporary:
        out = Path(temporary)
        asked = {**asdict(task), **options, "out": temporary, "threads": THREADS}
        (out / "task.json").write_text(json.dumps(asked))
        done = subprocess.run(
            ["node", "--input-type=module", "-", str(out / "task.json")],
            input=(Path(__file__).parent / script).read_bytes(),
            cwd=folder,
            capture_output=True,
            timeout=HOURGLASS,
            check=False,
        )
        if done.returncode:
            raise ModelError(f"{script} failed: {done.stderr.decode(errors='replace').strip()[-800:]}")
        answers = json.loads((out / "answers.json").read_text())
        logits = [
            np.fromfile(out / f"logits-{n}.f32", "<f4").reshape(-1, task.vocab_size)
            for n in range(len(task.sequences))
        ]
    return Answers(logits=logits, **answers)


def _numpy(folder: Path, task: Task) -> Answers:
    return Answers(version("numpy"), [reference.logits(folder, ids) for ids in task.sequences])


@torch.no_grad()
def _transformers(folder: Path, task: Task) -> Answers:
    stock = TransformersModel(str(folder), "cpu")
    logits = [stock.logits(torch.tensor([ids]))[0].numpy() for ids in task.sequences]
    greedy: list[list[int]] = []
    started = time.perf_counter()
    for opening in task.openings:
        output = stock.model.generate(torch.tensor([opening]), do_sample=False, max_new_tokens=task.count)
        greedy.append(output[0, len(opening) :].tolist())
    seconds = time.perf_counter() - started
    ids = [stock.tokenizer(text, verbose=False).input_ids for text in task.texts]
    return Answers(version("transformers"), logits, ids, greedy, seconds)


def _onnxruntime(path: Path, task: Task) -> Answers:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    config = path.parents[1] / "config.json"
    shape = read_shape(config.parent, json.loads(config.read_text()))
    empty = np.zeros((1, shape.kv_heads, 0, shape.head_dim), np.float32)
    names = [f"past_key_values.{n}.{part}" for n in range(shape.layers) for part in ("key", "value")]

    def forward(ids: list[int], past: list[NDArray[np.float32]]) -> tuple[Any, list[Any]]:
        seen = past[0].shape[2]
        feed = {
            "input_ids": np.array([ids]),
            "attention_mask": np.ones((1, seen + len(ids)), np.int64),
            "position_ids": np.arange(seen, seen + len(ids))[None],
        }
        found: list[Any] = list(session.run(None, feed | dict(zip(names, past, strict=True))))
        return found[0][0], found[1:]

    logits = [forward(ids, [empty] * len(names))[0] for ids in task.sequences]

    def story(opening: list[int]) -> list[int]:
        greedy: list[int] = []
        rows, past = forward(opening, [empty] * len(names))
        while len(greedy) < task.count:
            greedy.append(int(rows[-1].argmax()))
            if greedy[-1] == task.end:
                break
            rows, past = forward(greedy[-1:], past)
        return greedy

    started = time.perf_counter()
    greedy = [story(opening) for opening in task.openings]
    return Answers(onnxruntime.__version__, logits, None, greedy, time.perf_counter() - started)
