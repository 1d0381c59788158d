"""The report in Debian's Chromium: nothing is loaded, nothing overflows, axe finds nothing serious.

Screenshots are left in ``build/screenshots``.
"""

import json
import shutil
from pathlib import Path

import pytest

from aurelius.reporting.report import report

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build/screenshots"


@pytest.mark.parametrize("width, scheme", [(390, "dark"), (1200, "light")])
def test_the_report_reads_well(story_run: Path, tmp_path: Path, width: int, scheme: str):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium, axe = shutil.which("chromium"), ROOT / "page/node_modules/axe-core/axe.min.js"
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    if not axe.exists():
        pytest.skip("no node_modules in page: make test-long installs them")
    copy = Path(shutil.copytree(story_run, tmp_path / "run"))
    file = report(copy, device="cpu")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        requests, complaints = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"report-{width}-{scheme}.png", full_page=True)
        assert requests == [file.as_uri()] and not complaints
        page.add_script_tag(path=axe)
        found = page.evaluate("async () => (await axe.run()).violations")
        browser.close()
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert not serious, json.dumps([(e["id"], [n["html"][:200] for n in e["nodes"]]) for e in serious])
