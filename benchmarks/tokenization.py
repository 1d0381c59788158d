"""Which tokenizer is best for a small model: one change at a time to that of `nano`, on real stories.

    aurelius corpus nano --corpus TinyStoriesV2-GPT4-train.sample.txt \
        --corpus TinyStories-v1-train.sample.jsonl --set corpus.valid_fraction=0.1 --out runs/study
    python benchmarks/tokenization.py runs/study --json tokenization.json

Every model has as many parameters (what the vocabulary takes, the MLP gives), is trained on as many bytes
of text, and has as many bytes of text in a block, so that all take the same number of steps. Measured on the
run's held-out stories: bytes a token, and bits per byte. Goes on where it was stopped.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from aurelius.config.recipe import Recipe
from aurelius.config.settings import TokenizerSettings
from aurelius.data.blocks import Blocks
from aurelius.data.store import TokenStore
from aurelius.data.stories import StoryFile
from aurelius.evaluation.likelihood import measure
from aurelius.files import write_json
from aurelius.inference.run_model import RunModel
from aurelius.special_tokens import BOS, EOS, SPECIAL_TOKENS
from aurelius.tokenizer import suffix_bpe
from aurelius.training.trainer import Trainer

SPACE, WORD, END = suffix_bpe.SPACE, suffix_bpe.WORD, suffix_bpe.END
BATCH = 1000  # texts encoded together


def byte_level(texts: StoryFile, recipe: TokenizerSettings) -> Tokenizer:
    """`nano`'s normalizer and split, but merges of bytes (Radford et al. 2019) instead of characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = suffix_bpe.normalizer(recipe)
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([suffix_bpe.split(recipe), spell])
    tokenizer.decoder = decoders.ByteLevel()
    return _train(tokenizer, texts, recipe, pre_tokenizers.ByteLevel.alphabet())


def characters(texts: StoryFile, recipe: TokenizerSettings) -> Tokenizer:
    """`nano`'s without byte tokens: what its characters cannot spell is unknown."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = suffix_bpe.normalizer(recipe), suffix_bpe.split(recipe)
    tokenizer.decoder = decoders.Fuse()
    return _train(tokenizer, texts, recipe, suffix_bpe.alphabet(texts, recipe.max_characters))


def prefix_space(texts: StoryFile, recipe: TokenizerSettings) -> Tokenizer:
    """`nano`'s mirror image: a word carries the space before it, including the first of a text."""
    ends = [(rf"(?<![{SPACE}])[{SPACE}]+{END}", ""), (rf"^(?<![\s\S])[{SPACE}]*", " ")]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(Regex(p), text) for p, text in ends])
    mirrored = rf"[{SPACE}]*[{WORD}]+|[{SPACE}]*[^{WORD}{SPACE}]+|[{SPACE}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(mirrored), "isolated")
    known = suffix_bpe.alphabet(texts, recipe.max_characters)
    tokenizer = _train(tokenizer, texts, recipe, known, list(suffix_bpe.BYTE_TOKENS))
    rules = json.loads(tokenizer.to_str())["model"]
    tokenizer.model = models.BPE(
        rules["vocab"], [tuple(m) for m in rules["merges"]], unk_token="<unk>", byte_fallback=True
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _train(
    tokenizer: Tokenizer,
    texts: StoryFile,
    recipe: TokenizerSettings,
    alphabet: list[str],
    more: list[str] | None = None,
) -> Tokenizer:
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=recipe.vocab_size,
            special_tokens=[*SPECIAL_TOKENS, *(more or [])],
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            min_frequency=2,
            show_progress=False,
        ),
        len(texts),
    )
    return tokenizer


@dataclass(frozen=True)
class Variant:
    """A tokenizer to try: changes of the recipe, or its own way of training one."""

    factor: str
    changes: dict[str, Any] = field(default_factory=dict)
    train: Callable[[StoryFile, TokenizerSettings], Tokenizer] = suffix_bpe.train


VARIANTS = {
    "nano": Variant("nano"),
    **{str(size): Variant("vocabulary", {"vocab_size": size}) for size in (512, 1024, 2048, 4096)},
    "glued": Variant("split", {"split": "glued"}),
    "byte-level": Variant("alphabet", train=byte_level),
    "characters": Variant("alphabet", train=characters),
    "prefix": Variant("space", train=prefix_space),
}


def encode(tokenizer: Tokenizer, texts: StoryFile | list[str]) -> TokenStore:
    """Return stories as ``<s> story </s>``."""
    found: list[list[int]] = []
    texts = list(texts)
    for first in range(0, len(texts), BATCH):
        batch = tokenizer.encode_batch(texts[first : first + BATCH], add_special_tokens=False)
        found += [[BOS, *encoding.ids, EOS] for encoding in batch]
    starts = np.cumsum([0, *map(len, found)])
    ids = np.fromiter((token for ids in found for token in ids), np.uint16, int(starts[-1]))
    return TokenStore(ids, starts, sum(len(text.encode()) for text in texts))


def equal(recipe: Recipe, parameters: int, bytes_a_token: float, bytes_a_block: float) -> Recipe:
    """Choose the MLP width and the tokens per block that make the model as large as the others."""
    rest = recipe.with_(**{"model.d_mlp": 1}).parameters
    width = 3 * recipe.model.d_model * recipe.model.layers
    return recipe.with_(
        **{
            "model.d_mlp": 1 + round((parameters - rest) / width),
            "model.context": round(bytes_a_block / bytes_a_token),
        }
    )


def one(options: argparse.Namespace, name: str, seed: int, block: float) -> dict[str, Any]:
    """Train one tokenizer and one model with ``block`` bytes per block, and measure them."""
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    variant, texts = VARIANTS[name], StoryFile(options.run / "corpus", "train")
    documents = list(StoryFile(options.run / "corpus", "valid", limit=options.held_out))
    base = recipe_of(options, seed)
    recipe = base.with_(**{f"tokenizer.{key}": value for key, value in variant.changes.items()})
    tokenizer = variant.train(texts, recipe.tokenizer)
    stories = encode(tokenizer, texts)
    steps = round(options.megabytes * 1e6 / (block * base.training.batch))
    recipe = equal(recipe, base.parameters, stories.text_bytes / len(stories.ids), block)
    recipe = recipe.with_(**{"training.steps": steps})
    blocks = Blocks(stories, recipe.model.context, seed, recipe.training.story_start)
    trainer = Trainer(recipe, blocks, torch.device("cpu"))
    losses = [trainer.step()[0] for _ in range(steps)]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        tokenizer.save(str(file))
        model = RunModel(trainer.model, file, name)
        figures = measure(model, documents).as_json()
    return {
        "variant": name,
        "factor": variant.factor,
        "seed": seed,
        "vocab_size": recipe.tokenizer.vocab_size,
        "parameters": recipe.parameters,
        "d_mlp": recipe.model.d_mlp,
        "context": recipe.model.context,
        "steps": steps,
        "tokens": steps * recipe.training.batch * recipe.model.context,
        "bytes_per_token": round(figures["bytes"] / (figures["tokens"] - len(documents)), 4),
        "last_loss": round(float(torch.stack(losses[-50:]).mean()), 4),
        **figures,
    }


def recipe_of(options: argparse.Namespace, seed: int) -> Recipe:
    """Return the recipe that all variants change."""
    shape = {"model.layers": options.layers, "model.d_mlp": options.d_mlp}
    return Recipe.load("nano", {"training.seed": seed, **shape})


def wanted(options: argparse.Namespace, done: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    """Yield what remains to be measured, all variants of a seed before the next seed."""
    have = {(row["variant"], row["seed"]) for row in done}
    for seed in range(options.seeds):
        yield from ((name, seed) for name in options.variants if (name, seed) not in have)


def table(rows: list[dict[str, Any]]) -> str:
    """Return the variants, best first: bits per byte as mean and standard deviation over seeds."""
    lines = [f"{'':14}{'vocabulary':>11}{'d_mlp':>7}{'bytes/token':>13}{'bits per byte':>18}{'seeds':>7}"]
    by = {name: [row for row in rows if row["variant"] == name] for name in VARIANTS}
    found = {name: [row["bits_per_byte"] for row in some] for name, some in by.items() if some}
    for name in sorted(found, key=lambda name: np.mean(found[name])):
        first, values = by[name][0], found[name]
        spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
        lines.append(
            f"{name:14}{first['vocab_size']:11}{first['d_mlp']:7}{first['bytes_per_token']:13.3f}"
            f"{f'{np.mean(values):.4f}{spread}':>18}{len(values):7}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, print a table, keep everything in JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path, help="a run folder with a corpus")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=4.0, help="of text trained on (default: 4)")
    parser.add_argument("--held-out", type=int, default=500, help="stories measured (default: 500)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="trainings at a time, one thread each"
    )
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument(
        "--d-mlp",
        type=int,
        default=352,
        help="MLP width with nano's tokenizer; the other widths follow from it",
    )
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    texts, base = StoryFile(options.run / "corpus", "train"), recipe_of(options, 0)
    default = encode(suffix_bpe.train(texts, base.tokenizer), texts)
    block = base.model.context * default.text_bytes / len(default.ids)
    rows = json.loads(options.json.read_text()) if options.json.exists() else []
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        tasks = [pool.submit(one, options, name, seed, block) for name, seed in wanted(options, rows)]
        for task in as_completed(tasks):
            rows.append(task.result())
            write_json(options.json, rows)
            row = rows[-1]
            print(
                f"{row['variant']}, seed {row['seed']}: {row['bits_per_byte']:.4f} bits per byte", flush=True
            )
    print(table(rows))


if __name__ == "__main__":
    main()
