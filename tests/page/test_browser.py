"""The story page in a real browser, opened from a file: Debian's Chromium, driven by Playwright.

Screenshots are left in ``build/screenshots``.
"""

import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aurelius.export import page as story_page
from aurelius.inference.engine import Engine
from aurelius.inference.run_model import RunModel

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build/screenshots"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(story_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(story_page.page(story_run / "export/huggingface", "pico"))
    return path


class Visit:
    """A freshly opened page; its requests, messages and errors are kept."""

    def __init__(self, browser: Any, address: str, **context: Any):
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("#tell:not([disabled])")

    def tell(self, prompt: str = "Once upon a time", **settings: float) -> str:
        self.page.fill("#prompt", prompt)
        if not self.page.locator("#settings").evaluate("element => element.open"):
            self.page.click("#settings summary")
        for name, value in settings.items():
            self.page.fill(f"#{name}", str(value))
        self.page.click("#tell")
        return self.finished()

    def finished(self) -> str:
        self.page.wait_for_selector("#save:not([hidden])", timeout=60_000)
        return self.story()

    def story(self) -> str:
        return self.page.text_content("#story")


@pytest.fixture
def visit(browser: Any, file: Path) -> Iterator[Visit]:
    visit = Visit(browser, file.as_uri())
    yield visit
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(("file:", "blob:", "data:"))] == []
    visit.context.close()


def test_the_greedy_story_is_numpys(visit: Visit, story_run: Path):
    model = RunModel(story_run)
    rounded = {name: story_page.dequantised(weight) for name, weight in model.weights.items()}
    engine, text = Engine(model.shape, rounded), visit.tell("Once upon a time ", temperature=0)
    ids = model.encode(text)
    cache, feed = model.new_cache(), model.prefix + model.encode("Once upon a time")
    for id_ in ids[len(model.encode("Once upon a time")) :]:
        logits = engine.next_token_logits(feed, cache)
        logits[model.suppressed] = -np.inf
        assert logits[id_] > logits.max() - 1e-3
        feed = [id_]
    assert len(ids) > 40


def test_a_seed_is_a_story_and_so_is_a_link(visit: Visit, browser: Any, file: Path):
    story = visit.tell(seed=5)
    assert visit.tell(seed=5) == story
    assert visit.tell(seed=6) != story
    shown = visit.tell(seed=5)
    visit.page.click("#link")
    visit.page.wait_for_selector("#status:has-text('shows this story again')")
    elsewhere = Visit(browser, visit.page.url)
    assert elsewhere.finished() == shown
    assert elsewhere.page.text_content("#status") == "This story was opened from a link."
    assert elsewhere.complaints == []
    broken = Visit(browser, file.as_uri() + "#AAAA")
    broken.page.wait_for_selector("#status:has-text('damaged')")


def test_the_prompt_may_go_on_with_a_comma(visit: Visit):
    after = {visit.tell(seed=seed, temperature=1, minP=0)[len("Once upon a time") :][0] for seed in range(8)}
    assert "," in after and not any(character.isalpha() for character in after)


def test_another_word_makes_a_branch_and_undo_leads_back(visit: Visit, story_run: Path):
    story = visit.tell(seed=5)
    word = visit.page.locator(".word").nth(10)
    before = story[: story.index(word.text_content(), len("Once upon a time"))]
    word.click()
    visit.page.wait_for_selector("#alternatives button")
    shares = visit.page.locator("#alternatives .percent").all_text_contents()
    assert 1 < len(shares) <= 10
    shape = RunModel(story_run).shape
    assert visit.page.locator("#attention .bar").count() == shape.layers * shape.heads
    assert "<sink>" in visit.page.text_content("#attention-text")
    other = visit.page.locator("#alternatives button:not([aria-current])").first
    chosen = other.evaluate("element => element.firstChild.textContent")
    other.click()
    branch = visit.finished()
    assert branch != story and branch.startswith(before[:20])
    assert chosen in branch
    visit.page.click("#undo")
    assert visit.story() == story
    assert visit.page.locator("#undo").is_hidden()


def test_stop_and_continue(visit: Visit):
    # Stopped by the page itself at the first word: a click from here could come after the last one.
    visit.page.evaluate(
        """() => new Promise((done) => {
          const story = document.getElementById("story");
          new MutationObserver((_, observer) => {
            if (!story.querySelector(".word")) return;
            observer.disconnect();
            document.getElementById("stop").click();
            done();
          }).observe(story, { childList: true });
          document.getElementById("tell").click();
        })"""
    )
    stopped = visit.finished()
    assert len(stopped) < 60 and visit.page.text_content("#status") == "Stopped."
    visit.page.click("#continue")
    story = visit.finished()
    assert story.startswith(stopped) and len(story) > len(stopped)


def test_a_text_is_measured_as_python_does(visit: Visit, story_run: Path):
    model = RunModel(story_run)
    rounded = {name: story_page.dequantised(weight) for name, weight in model.weights.items()}
    engine, text = Engine(model.shape, rounded), "Once upon a time, there was a little dog. It ran."
    ids, cache, nats = model.prefix + model.encode(text), model.new_cache(), 0.0
    for position, (now, after) in enumerate(pairwise(ids)):
        logits = engine.next_token_logits([now], cache).astype(np.float64)
        logits[model.suppressed] = -np.inf
        if position >= len(model.prefix) - 1:
            nats += np.logaddexp.reduce(logits) - logits[after]
    visit.page.click("#measure summary")
    visit.page.fill("#score-text", text)
    visit.page.click("#score-form button")
    visit.page.wait_for_selector("#score:has-text('bits per byte')")
    shown = float(visit.page.text_content("#score").split()[0])
    assert shown == pytest.approx(nats / np.log(2) / len(text.encode()), abs=2e-3)


def test_a_long_opening_is_refused_in_words(visit: Visit):
    visit.page.fill("#prompt", "the little dog " * 300)
    visit.page.click("#tell")
    visit.page.wait_for_selector("#status:has-text('Shorten it.')")
    assert visit.page.locator("#tell").is_enabled()


def test_the_keyboard_is_enough(visit: Visit):
    visit.tell(seed=5)
    visit.page.locator(".word").first.focus()
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#alternatives button")
    assert visit.page.locator(".word").nth(2).get_attribute("aria-pressed") == "true"


def test_a_browser_without_workers_is_told(browser: Any, file: Path):
    context = browser.new_context()
    context.add_init_script("delete window.Worker")
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("#status:has-text('cannot run the model')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing_serious(browser: Any, file: Path, width: int, scheme: str):
    axe = ROOT / "page/node_modules/axe-core/axe.min.js"
    if not axe.exists():
        pytest.skip("no node_modules in page: make test-long installs them")
    size = {"width": width, "height": 900}
    visit = Visit(browser, file.as_uri(), viewport=size, color_scheme=scheme, bypass_csp=True)
    visit.tell(seed=5)
    visit.page.click("#measure summary")
    visit.page.check("#surprise")
    visit.page.locator(".word").nth(10).click()
    visit.page.wait_for_selector("#alternatives button")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    visit.page.screenshot(path=SCREENSHOTS / f"page-{width}-{scheme}.png", full_page=True)
    visit.page.add_script_tag(path=axe)
    found = visit.page.evaluate("async () => (await axe.run()).violations")
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert not serious, json.dumps(
        [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious]
    )


def test_the_bundle_is_current(tmp_path: Path):
    import subprocess

    if not (ROOT / "page/node_modules/esbuild").is_dir():
        pytest.skip("no node_modules in page: make test-long installs them")
    out = tmp_path / "page.html"
    subprocess.run(["node", "build.mjs", str(out)], cwd=ROOT / "page", check=True)
    assert out.read_text() == story_page.TEMPLATE.read_text(), "run: npm run build --prefix page"
