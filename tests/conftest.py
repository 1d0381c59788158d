"""What tests share: the real samples where they are, and one tiny finished run."""

import os

# Models of tests are too small for a second thread to help, and threads that wait for a busy core would make
# times depend on what else runs. It has to be said before PyTorch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from aurelius.config.recipe import Recipe
from aurelius.pipeline.run import run as run_pipeline
from aurelius.progress import Progress, Task

SHARED = Path(__file__).resolve().parents[2] / "shared"

TINY = {
    "name": "tiny",
    "corpus.stories": 400,
    "tokenizer.vocab_size": 420,
    "tokenizer.max_characters": 80,
    "model.layers": 2,
    "model.d_model": 32,
    "model.d_mlp": 48,
    "model.heads": 4,
    "model.kv_heads": 2,
    "model.context": 48,
    "model.rope_theta": 812.5,  # not what a reader falls back to
    "training.steps": 12,
    "training.batch": 4,
    "training.log_every": 2,
    "training.validate_every": 6,
    "training.checkpoint_every": 5,
    "evaluation.stories": 3,
    "generation.max_new_tokens": 24,
}

STORY_RUN = {
    "corpus.stories": 6000,
    "model.d_mlp": 224,  # a multiple of 32: every type of GGUF fits
    "model.rope_theta": 812.5,  # not what a reader falls back to
    "training.steps": 300,
    "evaluation.stories": 20,
}


# The same examples at every run, however slow the machine; --hypothesis-profile explore looks for others.
patient = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("explore", **patient)
settings.register_profile("settled", derandomize=True, **patient)
settings.load_profile("settled")


def pytest_configure() -> None:
    """Keep trackers away from the store of whoever runs the tests, and their settings away from the tests."""
    os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="trackio-")
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    for name in ("HF_HUB_OFFLINE", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Draw the same random tensors whatever ran before."""
    import torch

    torch.manual_seed(0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests out unless they are asked for with ``-m``."""
    if config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="long: make test-long"))


def shared(name: str) -> Path:
    """Return a file of the shared data, or skip the test."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the shared data ({name}) is not here")
    return path


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on a free port of this machine; give the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Alarm(Progress):
    """Raises a signal in this process when training has done some steps, however long they take."""

    def __init__(self, number: int, after: int):
        self.number, self.after = number, after

    def kill(self) -> None:
        os.kill(os.getpid(), self.number)

    @contextmanager
    def task(self, title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:
        task = Task(title, total, unit, done)
        advance = task.advance

        def ring(count: int = 1, info: str = "") -> None:
            advance(count, info)
            self.after -= bool(count)
            if self.after == 0:
                self.kill()

        if title == "training":
            task.advance = ring  # pyright: ignore[reportAttributeAccessIssue]
        yield task


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C act as in a terminal: where tests run in the background it may be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def train_sample() -> Path:
    return shared("data/tinystories/TinyStoriesV2-GPT4-train.sample.txt")


@pytest.fixture(scope="session")
def valid_sample() -> Path:
    return shared("data/tinystories/TinyStoriesV2-GPT4-valid.sample.txt")


@pytest.fixture(scope="session")
def stories260k() -> Path:
    return shared("peers/stories260K")


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    return Recipe.load("pico", TINY)


@pytest.fixture(scope="session")
def tiny_run(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run folder; tests that change it copy it first."""
    return run_pipeline(tiny, tmp_path_factory.mktemp("runs") / "tiny", device="cpu").folder


@pytest.fixture(scope="session")
def tiny_storyteller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the tiny model until it knows how stories begin, which takes some seconds."""
    recipe = {**TINY, "corpus.stories": 2000, "training.steps": 500, "training.batch": 16}
    out = tmp_path_factory.mktemp("runs") / "storyteller"
    return run_pipeline("pico", out, overrides=recipe, device="cpu").folder


@pytest.fixture(scope="session")
def story_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train `pico` for a minute: what small random weights say is no test of 200 greedy tokens."""
    out = tmp_path_factory.mktemp("runs") / "pico"
    return run_pipeline("pico", out, overrides=STORY_RUN, to=("onnx", "gguf"), device="cpu").folder


@pytest.fixture
def small_disk(tmp_path: Path):
    """Return a folder on a file system of 4 MiB, and a function that makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    done = (
        subprocess.run(mount, capture_output=True, text=True, check=False) if shutil.which("mount") else None
    )
    if done is None or done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr if done else 'no mount'}")
    yield folder, lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # tokens may still be mapped
