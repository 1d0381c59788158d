"""A full-size corpus through the first three stages: seconds, memory, and whether the counts are right.

    python benchmarks/corpus.py --gigabytes 2.2 --json corpus.json

Makes a file in upstream's format from the storyteller, with exact and near duplicates, mojibake and cut
stories planted, and its ends cut; then runs the corpus, tokenizer and tokens stages on it. The storyteller's
own near neighbours are measured first, on the same stories with nothing planted (``--skip-neighbours`` leaves
that out).
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import psutil

from aurelius.corpus import storyteller
from aurelius.corpus.clean import words_of

SEPARATOR = "\n<|endoftext|>\n"
CHUNK = 10_000  # stories made at once
SHARE = {"same": 0.01, "near": 0.01, "mojibake": 0.01, "cut": 0.005}


def tell(stretch: range, seed: int, planted: bool) -> tuple[str, dict[str, int]]:
    """Return part of the file and what was planted in it, by kind."""
    pieces: list[str] = []
    counts: Counter[str] = Counter()
    random_ = random.Random(f"{seed} {stretch.start}")
    for index in stretch:
        text = storyteller.tell(seed, index)
        pieces.append(text)
        if not planted:
            continue
        counts["stories"] += 1
        if random_.random() < SHARE["same"]:
            pieces.append(text.upper() if random_.random() < 0.5 else f"  {text} ")
            counts["same"] += 1
        if random_.random() < SHARE["near"] and (copy := edited(text, random_)):
            pieces.append(copy)
            counts["near"] += 1
        if random_.random() < SHARE["mojibake"]:
            pieces[-1] = garbled(pieces[-1])
            counts["mojibake"] += 1
        if random_.random() < SHARE["cut"]:
            # An extra story, from far beyond those in the file.
            other = storyteller.tell(seed + 1, index)
            pieces.append(other[: other.rindex(" ", 0, len(other) // 2)].rstrip(".!?\"' \n") + " and")
            counts["cut"] += 1
    return "".join(piece + SEPARATOR for piece in pieces), dict(counts)


def edited(text: str, random_: random.Random) -> str | None:
    """Change some words, a name, or the ending; None unless the copy is a near duplicate by its 5-grams."""
    words = text.split(" ")
    way = random_.randrange(3)
    if way == 0:
        for at in random_.sample(range(1, len(words) - 1), 2):
            words[at] = "blue"
    elif way == 1:
        words[random_.randrange(1, len(words) - 1)] = "Zara"
    else:
        words = words[: int(len(words) * 0.9)]
        words[-1] = words[-1].rstrip(",;:") + "."
    copy = " ".join(words)
    one, two = ({tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in (words_of(text), words_of(copy)))
    return copy if copy != text and len(one & two) / len(one | two) >= 0.8 else None


def garbled(text: str) -> str:
    """Make some quotes typographic and read them in the wrong encoding, as in upstream's mojibake."""
    return text.replace("'", "’").replace(". ", "… ", 1).encode().decode("cp1252")


def write(path: Path, stories: int, seed: int, planted: bool, workers: int) -> dict[str, int]:
    """Write the file; return what was planted."""
    counts: Counter[str] = Counter()
    stretches = [range(at, min(at + CHUNK, stories)) for at in range(0, stories, CHUNK)]
    with ProcessPoolExecutor(workers) as pool, path.open("w", encoding="utf-8") as file:
        if planted:
            file.write("and that was how it all came out well in the end." + SEPARATOR)
        arguments = zip(*((s, seed, planted) for s in stretches), strict=True)
        for text, found in pool.map(tell, *arguments):
            file.write(text)
            counts.update(found)
        if planted:
            file.write("Once upon a time there was a girl who lived by the sea and she was very")
    return dict(counts)


def measured(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds and the peak memory of it and its children (GiB)."""
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen(command)
    done = threading.Event()

    def look() -> None:
        nonlocal peak
        while not done.wait(0.2):
            peak = max(peak, sum(_memory(process.pid)))

    watcher = threading.Thread(target=look)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code:
        sys.exit(f"{' '.join(command)} ended with {code}")
    return time.perf_counter() - started, peak / 2**30


def _memory(process: int) -> Iterator[int]:
    try:
        top = psutil.Process(process)
        for one in chain([top], top.children(recursive=True)):
            yield one.memory_info().rss
    except psutil.NoSuchProcess:
        return


def stages(file: Path, folder: Path, until: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run the stages on a file; return their figures and the corpus's report."""
    command = [sys.executable, "-m", "aurelius", until, options.recipe, "--corpus", str(file), "--out"]
    command += [str(folder), "--workers", str(options.workers)]
    seconds, peak = measured(command)
    each = {
        stage: json.loads((folder / stage / "manifest.json").read_text())["seconds"]
        for stage in ("corpus", "tokenizer", "tokens")
        if (folder / stage / "manifest.json").is_file()
    }
    report = json.loads((folder / "corpus" / "report.json").read_text())
    return {"seconds": round(seconds, 1), "peak_gib": round(peak, 2), "stages": each, "report": report}


def main() -> None:
    """Make the corpus, run the stages, compare the counts, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=2.2)
    parser.add_argument("--recipe", default="nano")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip-neighbours", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    size = sum(len(storyteller.tell(options.seed, n)) + len(SEPARATOR) for n in range(1000)) / 1000
    stories = int(options.gigabytes * 1e9 / (size * (1 + sum(SHARE.values()))))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        own = None
        if not options.skip_neighbours:
            write(folder / "plain.txt", stories, options.seed, False, options.workers)
            plain = stages(folder / "plain.txt", folder / "plain", "corpus", options)["report"]
            own = {kind: plain["duplicates"][f"{kind}_duplicates"] for kind in ("exact", "near")}
            print(f"the storyteller's own: {own}", flush=True)
        started = time.perf_counter()
        planted = write(folder / "corpus.txt", stories, options.seed, True, options.workers)
        told = time.perf_counter() - started
        gigabytes = (folder / "corpus.txt").stat().st_size / 1e9
        print(f"{gigabytes:.2f} GB with {planted} told in {told:.0f} s", flush=True)
        result = stages(folder / "corpus.txt", folder / "run", "pack", options)
    report = result.pop("report")
    found = {
        "same": report["duplicates"]["exact_duplicates"] - (own or {}).get("exact", 0),
        "near": report["duplicates"]["near_duplicates"] - (own or {}).get("near", 0),
        "mojibake": report["changed"].get("mojibake", 0),
        "cut": report["dropped"].get("truncated at the end", 0) - 1,
        "file ends": report["dropped"].get("truncated at the beginning", 0) + 1,
    }
    result |= {"gigabytes": gigabytes, "planted": planted, "own": own, "found": found, "told_seconds": told}
    print(json.dumps({k: v for k, v in result.items()}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
