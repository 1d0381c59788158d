"""What becomes of a prompt's last word: typed with or without a space, normalised or not, healed or not.

    python benchmarks/prompt_ends.py RUN RUN RUN --on TinyStoriesV2-GPT4-valid.sample.txt --json ends.json

Held-out stories are cut after a word. Three ways to read the prompt:

- as typed: its tokens without the normalizer, so a prompt without a space ends in a bare word;
- normalised: the tokenizer makes it end in one space, as the reference card does;
- healed: what ``aurelius generate`` does, the last word is taken back and spelt in any way (see
  `aurelius.inference.prompt_end`).

For each: bits that the true rest costs, up to the end of the next word or mark, apart for stories that go on
with a space and a word and for those that go on with a mark (with the space, unless the prompt has it); how
often that rest cannot be spelt at all; and the shares of sampled openings that lengthen the last word, or put
a space before a mark.
"""

import argparse
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, normalizers

import aurelius
from aurelius.corpus.readers.sources import open_path
from aurelius.inference.generate import generate
from aurelius.inference.llama_model import LlamaModel
from aurelius.inference.prompt import Prompt
from aurelius.inference.sampling import Sampling, sample_next_token

FEWEST, MOST = 8, 40  # words and marks before the cut
MARKS = ".,!?;:"
LENGTHENED, SPACED = re.compile("[A-Za-z0-9]"), re.compile(rf"\s+[{MARKS}]")
PLAIN = Sampling(temperature=1.0, min_p=0, max_new_tokens=8)


class Prompts:
    """Held-out stories, cut after a word: what is before, the word, and what comes next."""

    def __init__(self, tokenizer: Tokenizer, texts: list[str], seed: int = 0):
        dice = np.random.default_rng(seed)
        self.cut: list[tuple[str, str, str]] = []
        for text in texts:
            pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
            ends = [n for n in range(FEWEST, min(MOST, len(pieces) - 1)) if pieces[n][0].isalpha()]
            if ends:
                at = int(dice.choice(ends))
                self.cut.append(("".join(pieces[:at]), pieces[at], pieces[at + 1]))

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        return iter(self.cut)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="+", help="runs: seeds of one recipe")
    parser.add_argument("--on", type=Path, required=True, help="stories that no model has seen")
    parser.add_argument("--prompts", type=int, default=400)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = [text for text in open_path(options.on).stories if text][: options.prompts]
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for name in options.models:
        model = aurelius.open_model(name)
        assert isinstance(model, LlamaModel)
        for way, figures in measure(model, texts).items():
            rows[way].append(figures)
    for way, found in rows.items():
        cells = []
        for key in found[0]:
            values = [each[key] for each in found]
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{key} {np.mean(values):.3f}{spread}")
        print(f"{way:28} {'; '.join(cells)}")
    if options.json:
        options.json.write_text(json.dumps({"models": options.models, "ways": rows}, indent=1) + "\n")


def measure(model: LlamaModel, texts: list[str]) -> dict[str, dict[str, float]]:
    """Return the figures of one model by how a prompt is typed and read."""
    as_typed = Tokenizer.from_str(model.tokenizer.to_str())
    as_typed.normalizer = normalizers.Sequence([])
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed, (before, word, following) in enumerate(Prompts(model.tokenizer, texts)):
        bare = word.rstrip()
        if not (goes_on := follows(word, bare, following)):
            continue
        for typed in ("", " "):
            if typed and word == bare:
                continue  # nobody types a space there
            ways = {"as typed": as_typed} if typed == "" else {}
            for way, tokenizer in (ways | {"normalised": model.tokenizer}).items():
                ids = tokenizer.encode(before + bare + typed, add_special_tokens=False).ids
                told = spelt(model, ids)
                row = found[f"{'space' if typed else 'no space'}, {way}"]
                rest = (before + word + following).encode()[len(told) :]
                possible = (before + word).encode().startswith(told)
                row["impossible"].append(not possible)
                if possible:
                    row[f"bits if a {goes_on} follows"].append(cost(model, ids, rest.decode()))
                opening = told[len((before + bare).encode()) :].decode() + sampled(model, ids, seed)
                judge(opening, row)
            row = found[f"{'space' if typed else 'no space'}, healed"]
            bits = healed_cost(model, before + bare + typed, word, following)
            row["impossible"].append(math.isinf(bits))
            if not math.isinf(bits):
                row[f"bits if a {goes_on} follows"].append(bits)
            story = generate(model, before + bare + typed, PLAIN, seed).finish()
            judge(story.text[len(before + bare) :], row)
    return {way: {key: float(np.mean(values)) for key, values in row.items()} for way, row in found.items()}


def follows(word: str, bare: str, following: str) -> str:
    """Say what follows a word: "word", "mark", or "" for anything else."""
    if word != bare:
        return "word" if word == bare + " " and following[0].isalpha() else ""
    return "mark" if following[0] in MARKS else ""


def judge(opening: str, row: dict[str, list[float]]) -> None:
    """Add to a row how an opening is malformed."""
    row["lengthened"].append(bool(LENGTHENED.match(opening)))
    row["space before a mark"].append(bool(SPACED.match(opening)))


def spelt(model: LlamaModel, ids: list[int]) -> bytes:
    """Return what ids spell, to the byte."""
    assert model.vocabulary is not None
    return b"".join(model.vocabulary.bytes[i] for i in ids)


def cost(model: LlamaModel, ids: list[int], rest: str) -> float:
    """Return the bits of ``rest`` after a prompt's ids, as the tokenizer's model spells it."""
    pieces = [piece for piece, _ in model.tokenizer.pre_tokenizer.pre_tokenize_str(rest)]
    tokens = [token.id for piece in pieces for token in model.tokenizer.model.tokenize(piece)]
    cache, feed, bits = model.new_cache(), model.prefix + ids, 0.0
    for token in tokens:
        logits = model.next_token_logits(feed, cache).astype(np.float64)
        bits += (np.logaddexp.reduce(logits) - logits[token]) / math.log(2)
        feed = [token]
    return bits


def healed_cost(model: LlamaModel, prompt: str, word: str, following: str) -> float:
    """Return the bits of the same after a healed prompt: over all ways to spell its last word as it is."""
    opened = Prompt.read(model, prompt)
    if opened.paths is None:
        return math.inf
    total = np.logaddexp.reduce(opened.paths.log_weights)
    nats = [
        weight - total - cost(model, opened.ids + path, following) * math.log(2)
        for path, weight in zip(opened.paths.ids, opened.paths.log_weights, strict=True)
        if spelt(model, path) == word.encode() and weight - total > -12
    ]
    return float(-np.logaddexp.reduce(nats) / math.log(2)) if nats else math.inf


def sampled(model: LlamaModel, ids: list[int], seed: int) -> str:
    """Return what the model writes after a prompt's ids, sampled as it is."""
    dice = np.random.default_rng(seed)
    cache, feed, new = model.new_cache(), model.prefix + ids, []
    while len(new) < (PLAIN.max_new_tokens or 8):
        logits = model.next_token_logits(feed, cache)
        logits[model.suppressed] = -np.inf
        feed = [sample_next_token(logits, PLAIN, dice)]
        if feed[0] == model.end:
            break
        new += feed
    return spelt(model, new).decode(errors="replace")


if __name__ == "__main__":
    main()
