import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aurelius.cli.main import main
from aurelius.config.recipe import Recipe
from aurelius.data.stories import read_stories
from aurelius.errors import CompareError
from aurelius.evaluation.likelihood import measure
from aurelius.inference.open_model import open_model
from aurelius.pipeline.run import run as run_pipeline
from aurelius.reporting.compare import compare


@pytest.fixture(scope="module")
def runs(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two recipes, narrow and wide, of two seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    for name, width in (("narrow", 32), ("wide", 48)):
        for seed in (0, 1):
            changes = {"training.seed": seed, "model.d_model": width, "training.log_every": 3 + seed}
            run_pipeline(tiny, folder / f"{name}-{seed}", overrides=changes, until="training", device="cpu")
    return folder


def test_seeds_of_a_recipe_are_one_side(runs: Path):
    names = ("narrow-0", "narrow-1", "wide-0", "wide-1")
    found = compare([runs / name for name in names], device="cpu")
    assert [side.name for side in found.sides] == ["narrow-0, narrow-1", "wide-0, wide-1"]
    assert found.changes == {"model.d_model": [32, 48]}, "neither the seed nor how a run is operated"
    (difference,) = found.differences
    texts = read_stories(runs / "narrow-0/corpus", "valid")
    bits = [measure(open_model(runs / name, "cpu"), texts).bits_per_byte_text for name in names]
    assert difference.value == pytest.approx((bits[2] + bits[3] - bits[0] - bits[1]) / 2)
    assert difference.seeds == 2 and not found.notes
    assert found.sides[0].models[0].curve[-1][0] == 12 * 4 * 48


def test_one_seed_each_says_what_its_interval_covers(runs: Path):
    found = compare([runs / "narrow-0", runs / "wide-0"], device="cpu")
    assert found.differences[0].seeds == 1 and "not another training" in found.notes[0]
    mixed = compare([runs / "narrow-0", runs / "narrow-1", runs / "wide-0"], device="cpu")
    assert len(mixed.sides) == 2 and mixed.differences[0].seeds == 1


def test_a_model_compared_with_itself_does_not_differ(runs: Path, tiny_run: Path):
    exported = tiny_run / "export/huggingface"
    (difference,) = compare([tiny_run, exported], device="cpu").differences
    assert abs(difference.value) < 1e-5, "the same weights in transformers"
    (same,) = compare([tiny_run, tiny_run], device="cpu").differences
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_any_model_can_be_compared_with_a_run(runs: Path, stories260k: Path, tmp_path: Path):
    found = compare([stories260k, runs / "wide-0"], device="cpu")
    assert "not known" in found.notes[0] and found.changes == {}
    assert found.sides[0].models[0].parameters == 260_032
    stories = tmp_path / "held-out.txt"
    stories.write_text("Once upon a time there was a dog.\n<|endoftext|>\nThe cat sat. It slept.\n")
    on_file = compare([stories260k, runs / "wide-0"], stories, device="cpu")
    assert (on_file.count, on_file.documents) == (2, str(stories)) and on_file.differences[0].value > 0


def test_runs_with_other_held_out_stories_need_a_file(runs: Path, tmp_path: Path, tiny: Recipe):
    other = tmp_path / "other"
    run_pipeline(tiny, other, overrides={"corpus.seed": 5}, until="training", device="cpu")
    with pytest.raises(CompareError, match=r"hold out different stories.*--on"):
        compare([runs / "wide-0", other], device="cpu")
    with pytest.raises(CompareError, match="at least two"):
        compare([runs / "wide-0"], device="cpu")


class Tags(HTMLParser):
    """Collects what a page refers to, and its text."""

    def __init__(self):
        super().__init__()
        self.links, self.text = [], ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_terminal_page_and_json_say_the_same(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    command = ["compare", str(runs / "narrow-0"), str(runs / "wide-0"), "--device", "cpu", "--quiet"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    page = tmp_path / "page.html"
    assert main([*command, "--html", str(page)]) == 0
    shown, reader = capsys.readouterr().out, Tags()
    reader.feed(page.read_text())
    value = f"{told['differences'][0]['value']:+.4f}".replace("-", "−")
    for text in (shown, reader.text):
        assert value in text and "model.d_model" in text and "wide-0" in text
        assert all(f"{model['bits_per_byte_text']:.4f}" in text for model in told["models"])
    assert all(link.startswith("#") for link in reader.links), "nothing is fetched"
    assert "<script" not in page.read_text() and "<desc>Held-out bits per byte" in page.read_text()
    assert main(["compare", str(runs / "narrow-0"), "--device", "cpu"]) == 2
    assert "at least two models" in capsys.readouterr().err
