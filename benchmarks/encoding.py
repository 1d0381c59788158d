"""How fast a corpus is encoded, compared with `Tokenizer.encode_batch` on all cores in the same run.

    python benchmarks/encoding.py --corpus TinyStoriesV2-GPT4-train.sample.txt --json encoding.json

Both encode the same texts with the same tokenizer, turn about, and every id is compared. Ours begins each
round without a memory of words.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from aurelius.config.settings import TokenizerSettings
from aurelius.corpus import storyteller
from aurelius.corpus.readers.sources import open_path
from aurelius.tokenizer.encode import Encoder
from aurelius.tokenizer.suffix_bpe import train

BATCH = 1000


def ours(tokenizer: Tokenizer, texts: list[str]) -> list[bytes]:
    """Encode with `Encoder`."""
    encoder = Encoder(tokenizer)
    return [encoder.encode(text) for text in texts]


def theirs(tokenizer: Tokenizer, texts: list[str]) -> list[bytes]:
    """Encode with `Tokenizer.encode_batch`, a thousand texts at a time."""
    found = []
    for first in range(0, len(texts), BATCH):
        batch = tokenizer.encode_batch(texts[first : first + BATCH], add_special_tokens=False)
        found += [np.asarray(encoding.ids, "<u2").tobytes() for encoding in batch]
    return found


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--corpus", type=Path, help="a file of stories (default: 20,000 of the storyteller)")
    parser.add_argument("--vocab-size", type=int, default=1536)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = list(open_path(options.corpus).stories if options.corpus else storyteller.stories(20_000))
    tokenizer = train(texts, TokenizerSettings(vocab_size=options.vocab_size))
    size = sum(len(text.encode()) for text in texts)
    ways: dict[str, Callable[[Tokenizer, list[str]], list[bytes]]] = {
        "encode_batch": theirs,
        "aurelius": ours,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    results = {}
    for _ in range(options.rounds):
        for name, encode in ways.items():
            started = time.perf_counter()
            results[name] = encode(tokenizer, texts)
            rates[name].append(size / (time.perf_counter() - started) / 1e6)
    if results["aurelius"] != results["encode_batch"]:
        sys.exit("the ids differ")
    report = {
        "stories": len(texts),
        "bytes": size,
        "vocab_size": options.vocab_size,
        "megabytes_per_second": {name: [round(rate, 3) for rate in found] for name, found in rates.items()},
        "times_encode_batch": round(
            statistics.median(rates["aurelius"]) / statistics.median(rates["encode_batch"]), 3
        ),
    }
    print(f"{len(texts):,} stories, {size / 1e6:.1f} MB, ids equal")
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"{name:14}{middle:8.2f} MB/s  ({min(found):.2f} to {max(found):.2f})")
    print(f"ratio         {report['times_encode_batch']:8.2f}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
