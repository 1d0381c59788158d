"""What the tests of several runtimes share: texts that are hard to cut."""

from pathlib import Path

import pytest

from aurelius.corpus.readers.sources import open_path
from aurelius.data.stories import StoryFile
from aurelius.parity import check
from tests.conftest import SHARED


@pytest.fixture(scope="session")
def parity_texts(story_run: Path) -> list[str]:
    """Return odd texts, one of 100 kB, and 500 beginnings of stories: real ones where the shared data is."""
    path = SHARED / "data/tinystories/TinyStoriesV2-GPT4-valid.sample.txt"
    found = open_path(path).stories if path.exists() else StoryFile(story_run / "corpus", "valid")
    stories = [text for text in found if text]
    long = stories[0] * (100_000 // len(stories[0]) + 1)
    return [*check.HARD_TEXTS, long, *check.beginnings(stories, 500)]
