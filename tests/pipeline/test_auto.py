"""The recipe `auto`, on this machine."""

import json
from pathlib import Path

import pytest

from aurelius.cli.main import main
from aurelius.config.recipe import Recipe
from aurelius.errors import RecipeError
from aurelius.pipeline.auto import look_at, size
from aurelius.pipeline.run import run
from tests.conftest import shared


def corpus_of(source: object, **more: object):
    return Recipe.load("nano", {"corpus.source": source, **more}).corpus


def test_a_run_is_sized_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    overrides = {"corpus.stories": 300, "evaluation.stories": 5, "training.batch": 2}
    result = run("auto", tmp_path / "run", minutes=0.05, overrides=overrides, until="training", device="cpu")
    text = (tmp_path / "run/recipe.toml").read_text()
    assert text.startswith("# Sized for 0.05 minutes on this machine") and "unknown" in text
    recipe = Recipe.load(tmp_path / "run")
    assert (recipe.name, recipe.training.batch, recipe.corpus.stories) == ("auto", 2, 300)
    assert recipe.training.steps > 0 and recipe.training.minutes == 0.05
    again = run("auto", tmp_path / "run", minutes=0.05, overrides=overrides, until="training")
    assert again.done == [] and (tmp_path / "run/recipe.toml").read_text() == text
    assert result.done == ["corpus", "tokenizer", "tokens", "training"]
    for minutes, found in ((None, "add --minutes"), (0, "it is 0")):
        with pytest.raises(RecipeError, match=found):
            run("auto", tmp_path / "other", minutes=minutes)
    assert not (tmp_path / "other").exists()


def test_show_says_what_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = tmp_path / "stories.txt"
    source.write_text("\n\n".join(f"Story {n}: we ordered {n} crates of oranges." for n in range(900)))
    arguments = ["show", "auto", "--minutes", "60", "--corpus", str(source)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "# Sized for 60 minutes" in shown and "# bits per byte     unknown" in shown
    assert main(["show", "nano", "--minutes", "60"]) == 2
    assert "--minutes has no effect on nano" in capsys.readouterr().err
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["expected"] is None and len(result["choices"]) > 5
    assert result["recipe"]["tokenizer"]["vocab_size"] == 384, "a small corpus has no large vocabulary"


def test_tinystories_are_told_from_others(train_sample: Path, tmp_path: Path):
    facts = look_at(corpus_of(str(train_sample)))
    assert facts.like_tinystories and 8 < facts.megabytes < 10 and 700 < facts.story_bytes < 900
    assert facts.story_bytes < facts.long_story_bytes < 2000
    assert look_at(
        corpus_of(str(shared("data/tinystories/TinyStories-v1-train.sample.jsonl")))
    ).like_tinystories
    licence = Path(__file__).parents[2] / "LICENSE"
    (tmp_path / "licence.txt").write_text(licence.read_text())
    assert not look_at(corpus_of(str(tmp_path / "licence.txt"))).like_tinystories
    endless = look_at(corpus_of("storyteller"))
    assert not endless.like_tinystories and endless.megabytes == float("inf")


def test_a_large_corpus_is_sampled(train_sample: Path):
    sized = size({"corpus.source": "storyteller"}, 1.0, "cpu")
    assert 1000 <= sized.recipe.corpus.stories < 100_000
    kept = size({"corpus.source": str(train_sample), "model.layers": 2}, 30.0, "cpu").recipe
    assert kept.corpus.stories == 0 and kept.model.layers == 2, "--set has the last word"
