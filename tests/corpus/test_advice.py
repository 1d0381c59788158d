"""What building a corpus says of how it was read and of what cleaning did."""

from pathlib import Path
from typing import Any

import pytest

from aurelius.config.recipe import Recipe
from aurelius.corpus import build as corpus
from aurelius.corpus import storyteller
from aurelius.errors import CorpusError
from aurelius.progress import Progress

STORIES = list(storyteller.stories(700, seed=7))


class Heard(Progress):
    """Keeps what was reported."""

    def __init__(self):
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def heard(tiny: Recipe, tmp_path: Path, text: str, **options: Any) -> Heard:
    (tmp_path / "a.txt").write_text(text)
    settings = {"stories": 0, "source": str(tmp_path / "a.txt"), "max_words": 2000} | options
    progress = Heard()
    corpus.build(tiny.with_(**{f"corpus.{k}": v for k, v in settings.items()}), tmp_path / "c", progress)
    return progress


def test_enough_whole_stories_are_only_noted(tiny: Recipe, tmp_path: Path):
    progress = heard(tiny, tmp_path, "<|endoftext|>".join(STORIES))
    assert not progress.warnings
    assert progress.notes[0].startswith("corpus: read text, split at <|endoftext|>: 700 stories, median ")


def test_paragraphs_are_recognised(tiny: Recipe, tmp_path: Path):
    paragraphs = [p for story in STORIES for p in story.split(". ")]
    progress = heard(tiny, tmp_path, ".\n\n".join(paragraphs))
    assert "these look like paragraphs" in progress.warnings[0] and "--separator" in progress.warnings[0]


def test_collections_are_recognised(tiny: Recipe, tmp_path: Path):
    collection = "\n".join(STORIES[:40])
    progress = heard(tiny, tmp_path, "\n---\n".join([collection] * 3 + STORIES[:9]), max_words=10_000)
    assert not any("several stories each" in text for text in progress.warnings)  # the median is a story
    with pytest.raises(CorpusError, match="hold several stories each, say what separates"):
        heard(tiny, tmp_path, "\n---\n".join([collection] * 3))


def test_little_to_train_on_and_one_story_held_out(tiny: Recipe, tmp_path: Path):
    progress = heard(tiny, tmp_path, "<|endoftext|>".join(STORIES[:8]))
    assert any("only one story is held out" in text for text in progress.warnings)
    assert any("with only 7 for training" in text for text in progress.warnings)


def test_a_step_that_drops_much_is_named_with_the_way_to_switch_it_off(tiny: Recipe, tmp_path: Path):
    text = "<|endoftext|>".join([*STORIES, *(story[0].lower() + story[1:] for story in STORIES[:400])])
    progress = heard(tiny, tmp_path, text, near_duplicates="keep")
    (warning,) = progress.warnings
    assert "dropped 400 of 1,100" in warning and "'truncated at the beginning' (400)" in warning
    assert """--set 'corpus.clean=["mojibake", "characters", "story", "english"]'""" in warning


def test_where_a_step_drops_all_the_error_names_it(tiny: Recipe, tmp_path: Path):
    russian = "<|endoftext|>".join(["Жила-была маленькая кошка. " * 12, "Мальчик Том увидел собаку. " * 12])
    with pytest.raises(CorpusError, match="leave out the cleaning step 'english'"):
        heard(tiny, tmp_path, russian)
    heard(tiny, tmp_path, russian, clean=["mojibake", "characters", "story", "cut"])


def test_short_stories_name_the_limit(tiny: Recipe, tmp_path: Path):
    with pytest.raises(CorpusError, match=r"corpus\.min_words is the limit"):
        heard(tiny, tmp_path, "A cat sat.<|endoftext|>A dog ran.")
