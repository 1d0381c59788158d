"""The story page in headless Chromium: size, time to the first word, tokens per second, what int8 costs.

The first word counts from the navigation to the file; the story is told as soon as the page allows it. Needs
Debian's chromium.

    python benchmarks/page.py runs/mine --on TinyStoriesV2-GPT4-valid.sample.txt --json page.json
"""

import argparse
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from aurelius.corpus.readers.sources import open_path
from aurelius.export import page as story_page
from aurelius.inference.engine import Engine
from aurelius.inference.run_model import RunModel


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--on", type=Path, help="stories on which the cost of int8 is measured")
    parser.add_argument("--stories", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = RunModel(options.run)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(story_page.page(options.run / "export/huggingface", "benchmark"))
        result: dict[str, Any] = {
            "model": model.name,
            "parameters": model.parameters,
            "bytes": file.stat().st_size,
            **in_chromium(file, len(model.encode("Once upon a time")), options.rounds),
        }
    if options.on:
        stories = list(islice((text for text in open_path(options.on).stories if text), options.stories))
        rounded = {name: story_page.dequantised(weight) for name, weight in model.weights.items()}
        before, after = (
            bits(model, engine, stories) for engine in (model.engine, Engine(model.shape, rounded))
        )
        result |= {"bits_per_byte": round(before, 5), "with_int8": round(after, 5)}
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def in_chromium(file: Path, opening: int, rounds: int) -> dict[str, float]:
    """Return medians over freshly opened pages."""
    from playwright.sync_api import sync_playwright

    first, rates = [], []
    chromium = shutil.which("chromium") or sys.exit("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for seed in range(rounds):
            page = browser.new_page()
            begun = time.perf_counter()
            page.goto(file.as_uri())
            page.wait_for_selector("#tell:not([disabled])")
            page.evaluate(f"document.getElementById('seed').value = '{seed}'")
            page.click("#tell")
            page.wait_for_selector(".word")
            shown = time.perf_counter()
            first.append(shown - begun)
            page.wait_for_selector("#link:not([hidden])", timeout=120_000)
            seconds = time.perf_counter() - shown
            rates.append((int(page.locator("#story").get_attribute("data-tokens") or 0) - opening) / seconds)
            page.close()
        browser.close()
    return {
        "first_word_seconds": round(statistics.median(first), 2),
        "tokens_per_second": round(statistics.median(rates)),
    }


def bits(model: RunModel, engine: Engine, stories: list[str]) -> float:
    """Return bits per byte of the text alone; of a story that is too long, its beginning."""
    nats, size = 0.0, 0
    for story in stories:
        ids = (model.prefix + model.encode(story))[: model.context]
        positions, cache = np.arange(len(ids)), model.new_cache()
        logits = engine.logits(engine.forward(ids, np.zeros_like(positions), positions, cache)).astype(
            np.float64
        )
        lead = len(model.prefix)
        targets = ids[lead:]
        rows = logits[lead - 1 : -1]
        nats += float((np.logaddexp.reduce(rows, 1) - rows[np.arange(len(targets)), targets]).sum())
        size += len(model.decode(targets).rstrip().encode())
    return nats / math.log(2) / size


if __name__ == "__main__":
    main()
