"""Bits per byte by position in a text much longer than the context, with ways to keep the cache small.

Held-out stories are joined, each between begin and end token as in training, to texts of 4,000 tokens. When
the cache is full, 16 positions leave it: those after the model's prefix (`kept`: StreamingLLM, what
``--endless`` does), or the oldest ones, the prefix among them (`dropped`). `recomputed` restarts from the
prefix and the last half of the context, as ``--max-tokens`` does.

    python benchmarks/endless.py runs/mine --on TinyStoriesV2-GPT4-valid.sample.txt --json endless.json
"""

import argparse
import json
import math
import sys
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import aurelius
from aurelius.corpus.readers.sources import open_path
from aurelius.inference.endless import DROPPED
from aurelius.inference.llama_model import LlamaModel

WAYS = ("kept", "dropped", "recomputed")
BUCKET = 500  # tokens


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="a run, or a plain Llama in Hugging Face format")
    parser.add_argument("--on", type=Path, required=True, help="stories that the model has not seen")
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = aurelius.open_model(options.model)
    if not isinstance(model, LlamaModel) or model.end is None or model.vocabulary is None:
        sys.exit("the model is not a plain Llama with a suffix-space tokenizer and an end token")
    stories = (text for text in open_path(options.on).stories if text)
    bits: dict[str, list[NDArray[np.float64]]] = {way: [] for way in WAYS}
    sizes = []
    for _ in range(options.texts):
        ids, size = joined(model, stories, options.tokens)
        sizes.append(size)
        for way in WAYS:
            bits[way].append(nats(model, ids, way) / math.log(2))
    by_position = [sum(a) for a in zip(*(buckets(each) for each in sizes), strict=True)]
    result = {
        way: [
            round(float(b / s), 4)
            for b, s in zip(np.sum([buckets(e) for e in found], 0), by_position, strict=True)
        ]
        for way, found in bits.items()
    }
    print(f"bits per byte by {BUCKET} tokens, {options.texts} texts")
    for way, values in result.items():
        print(f"{way:12}", *(f"{value:.3f}" for value in values))
    if options.json:
        options.json.write_text(
            json.dumps({"model": model.name, "bucket": BUCKET, **result}, indent=2) + "\n"
        )


def joined(model: LlamaModel, stories, tokens: int) -> tuple[list[int], NDArray[np.float64]]:
    """Return the ids of stories in a row, without the prefix, and the bytes of each id."""
    ids: list[int] = []
    for story in stories:
        ids += [*model.encode(story), model.end]
        if model.prefix[-1] != model.end:
            ids.append(model.prefix[-1])
        if len(ids) >= tokens:
            break
    if len(ids) < tokens:
        sys.exit("there are too few stories; ask for fewer --texts")
    ids = ids[:tokens]
    assert model.vocabulary is not None
    return ids, np.array([len(model.vocabulary.bytes[i]) for i in ids], np.float64)


def nats(model: LlamaModel, ids: list[int], way: str) -> NDArray[np.float64]:
    """Return the negative log-likelihood of each id but begin and end tokens, which cost nothing here."""
    found, cache, feed = np.zeros(len(ids)), model.new_cache(), list(model.prefix)
    for n, id_ in enumerate(ids):
        if cache.length + len(feed) > model.context:
            if way == "recomputed":
                cache, feed = model.new_cache(), model.prefix + ids[n - model.context // 2 : n]
            else:
                cache.drop(len(model.prefix) if way == "kept" else 0, DROPPED)
        logits = model.next_token_logits(feed, cache).astype(np.float64)
        if id_ not in (*model.prefix, model.end):
            found[n] = np.logaddexp.reduce(logits) - logits[id_]
        feed = [id_]
    return found


def buckets(values: NDArray[np.float64]) -> list[float]:
    """Return the sums of values by position."""
    return [float(sum(islice(values, n, n + BUCKET))) for n in range(0, len(values), BUCKET)]


if __name__ == "__main__":
    main()
