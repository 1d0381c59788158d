"""What the tests of several runtimes share: a small trained model, and texts that are hard to cut."""

from pathlib import Path

import pytest

from aurelius.corpus.readers.sources import open_path
from aurelius.data.stories import StoryFile
from aurelius.parity import check
from aurelius.pipeline.run import run as run_pipeline
from tests.conftest import SHARED

SETTINGS = {
    "corpus.stories": 6000,
    "model.d_mlp": 224,  # a multiple of 32: every type of GGUF fits
    "model.rope_theta": 812.5,  # not what a reader falls back to
    "training.steps": 300,
    "evaluation.stories": 20,
}


@pytest.fixture(scope="session")
def story_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train `pico` for a minute: what small random weights say is no test of 200 greedy tokens."""
    out = tmp_path_factory.mktemp("runs") / "pico"
    return run_pipeline("pico", out, overrides=SETTINGS, to=("onnx", "gguf"), device="cpu").folder


@pytest.fixture(scope="session")
def parity_texts(story_run: Path) -> list[str]:
    """Return odd texts, one of 100 kB, and 500 beginnings of stories: real ones where the shared data is."""
    path = SHARED / "data/tinystories/TinyStoriesV2-GPT4-valid.sample.txt"
    found = open_path(path).stories if path.exists() else StoryFile(story_run / "corpus", "valid")
    stories = [text for text in found if text]
    long = stories[0] * (100_000 // len(stories[0]) + 1)
    return [*check.HARD_TEXTS, long, *check.beginnings(stories, 500)]
