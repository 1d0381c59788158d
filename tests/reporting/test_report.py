"""The report of a run: what it says, when it is made again, and that it needs nothing from elsewhere."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aurelius.cli.main import main
from aurelius.errors import CorpusError, RunError
from aurelius.evaluation.scale import KNOWN, place
from aurelius.importing.import_model import import_model
from aurelius.pipeline.manifest import Manifest
from aurelius.pipeline.run import create
from aurelius.pipeline.run import run as run_pipeline
from aurelius.reporting.report import report


@pytest.fixture(scope="module")
def run(tiny_storyteller: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with a report."""
    copy = Path(shutil.copytree(tiny_storyteller, tmp_path_factory.mktemp("report") / "run"))
    report(copy, device="cpu")
    return copy


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return (run / "report/report.html").read_text()


class Page(HTMLParser):
    """Collects the tags of a page and checks that each is closed."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr", "path", "use", "rect"})

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_needs_no_network_and_no_scripts(html: str):
    page = Page(html)
    assert not page.open
    tags = {tag for tag, _ in page.seen}
    assert not tags & {"script", "link", "iframe", "img"}
    assert "@import" not in html and "url(http" not in html
    outside = [a["href"] for tag, a in page.seen if tag == "a" and not (a["href"] or "").startswith("#")]
    assert outside == ["https://github.com/phueb/Zorro"], "a link to read, nothing that is loaded"
    assert len(html.encode()) < 2_000_000


def test_every_figure_has_a_text_alternative(html: str):
    figures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(figures) >= 4
    for svg in figures:
        assert 'role="img"' in svg and re.search(r"<title>.+</title>\s*<desc>.+</desc>", svg)


def test_it_says_what_was_measured(run: Path, html: str):
    figures = json.loads((run / "evaluation/report.json").read_text())
    assert f"{figures['documentwise']['bits_per_byte_text']:.4f} bits per byte of text alone" in html
    assert figures["samples"][1]["text"].split("\n")[0].replace("'", "&#39;").replace('"', "&#34;") in html
    found = json.loads((run / "report/report.json").read_text())["found"]
    assert set(found) == {"coherence", "novelty", "bottleneck", "sinks", "surprise"}
    assert f"about as much as {found['bottleneck']['head_effective_rank']:.0f} independent" in html
    assert "not like TinyStories, so it has no place on a scale" in html
    assert "Not measured: minimal pairs are not part of Aurelius" in html


def test_the_words_of_a_coloured_story_are_the_story(run: Path):
    told = json.loads((run / "report/report.json").read_text())["found"]["surprise"]
    samples = json.loads((run / "evaluation/report.json").read_text())["samples"]
    for sample, shown in zip(samples, told, strict=False):
        assert "".join(text for text, _ in shown["pieces"]) == sample["text"]
        assert all(bits >= 0 for _, bits in shown["pieces"])


def test_it_has_a_manifest_and_is_left_alone_while_that_matches(run: Path):
    manifest = Manifest.read(run / "report")
    assert manifest is not None and set(manifest.outputs) == {"report.html", "report.json"}
    before = (run / "report/manifest.json").stat().st_mtime_ns
    report(run, device="cpu", again=False)
    assert (run / "report/manifest.json").stat().st_mtime_ns == before


def test_what_was_measured_is_kept_and_what_is_asked_for_is_added(run: Path, tmp_path: Path):
    copy, pairs = Path(shutil.copytree(run, tmp_path / "run")), tmp_path / "pairs"
    pairs.mkdir()
    (pairs / "number.txt").write_text("a girls ran .\na girl ran .\n" * 5)
    before = json.loads((copy / "report/report.json").read_text())["found"]
    report(copy, pairs=pairs, device="cpu")
    after = json.loads((copy / "report/report.json").read_text())["found"]
    assert after["pairs"]["paradigms"]["number"]["of"] == 5
    assert {name: after[name] for name in ("coherence", "novelty", "sinks")} == {
        name: before[name] for name in ("coherence", "novelty", "sinks")
    }
    assert "Right, one kind: <strong>" in (copy / "report/report.html").read_text()


def test_a_run_that_is_not_evaluated_has_nothing_to_report(tmp_path: Path):
    create("pico", tmp_path / "run")
    with pytest.raises(RunError, match="not evaluated yet, so there is nothing to report: aurelius run"):
        report(tmp_path / "run")
    with pytest.raises(RunError, match="is not a run folder"):
        report(tmp_path / "nowhere")


def test_pairs_that_cannot_be_read_are_refused_before_anything_is_measured(run: Path, tmp_path: Path):
    before = (run / "report/report.html").read_bytes()
    with pytest.raises(CorpusError, match="holds no minimal pairs"):
        report(run, pairs=tmp_path)
    assert (run / "report/report.html").read_bytes() == before


def test_every_run_of_the_command_ends_with_a_report(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    copy = shutil.copytree(tiny_run, tmp_path / "run")
    assert main(["run", str(copy), "--device", "cpu", "-q"]) == 0
    assert f"report          {copy}/report/report.html" in capsys.readouterr().out
    assert main(["report", str(copy), "--device", "cpu", "-q"]) == 0
    assert capsys.readouterr().out == f"{copy}/report/report.html\n"


def test_an_imported_model_is_placed_but_nothing_is_said_of_its_training(
    stories260k: Path, valid_sample: Path, tmp_path: Path
):
    corpus = {"corpus.source": str(valid_sample), "corpus.stories": 400, "evaluation.stories": 5}
    run = import_model(stories260k, tmp_path / "run", overrides=corpus)
    run_pipeline(run, device="cpu")
    html = report(run, device="cpu").read_text()
    assert ", imported." in html and "it ranks " in html
    assert "the weights were imported" in html and "0 steps" not in html
    assert "Not measured: novelty needs the stories that the model was trained on" in html
    assert "is placed before every story" not in html, "it has no <sink>"


def test_a_model_is_placed_between_its_neighbours():
    assert place(0.75) == "between nano after 10 M tokens (0.81) and auto in 15 minutes (0.72)"
    assert place(2.0) == "below stories260K (0.92)"
    assert place(0.1).startswith("above stories110M")
    assert [each.bits_per_byte for each in KNOWN] == sorted((e.bits_per_byte for e in KNOWN), reverse=True)
