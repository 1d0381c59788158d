"""The reference card's whole training on one GPU: 30,252 steps of 26,624 tokens, and how long they take.

It makes its own 500,000 stories, tokenizer and tokens, trains `large` on them, and times transformers'
Trainer on the same batch beside it. One command, nothing from the network:

    python benchmarks/headline.py --json headline.json

Attention reaches over the whole block, as the card's does, so that both sides do the same arithmetic.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from aurelius.config.recipe import Recipe
from aurelius.corpus.storyteller import tell
from aurelius.data.tokens import Blocks, Stories
from aurelius.pipeline import run as pipeline
from aurelius.training.trainer import Trainer
from aurelius.training.validation import packed_loss
from training import flops_per_token, matrix_peak

CHUNK = 2000  # stories a worker tells at once


def main() -> None:
    """Make the stories, train, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipe", default="large")
    parser.add_argument("--stories", type=int, default=500_000)
    parser.add_argument("--steps", type=int, help="fewer than the recipe's, for a first look")
    parser.add_argument("--peer-steps", type=int, default=200, help="of transformers' Trainer; 0: none")
    parser.add_argument("--seconds", type=float, default=420.0, help="of training, at most")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the recipe")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {"seconds": {}}
    with tempfile.TemporaryDirectory() as folder:
        run = _prepare(options, Path(folder), result["seconds"])
        result |= _train(Recipe.load(run), run / "tokens", options, result["seconds"])
        _write(result, options.json)  # before the peer, which may not run
        if options.peer_steps:
            with _timed(result["seconds"], "peer"):
                result["trainer_tokens_per_second"] = _peer(options)
    print(_write(result, options.json))


def _write(result: dict[str, Any], path: Path | None) -> str:
    text = json.dumps(result, indent=2)
    if path:
        path.write_text(text + "\n")
    return text


@contextmanager
def _timed(seconds: dict[str, float], name: str):
    started = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - started, 2)
    print(f"{name}: {seconds[name]} s", file=sys.stderr, flush=True)


def _prepare(options: argparse.Namespace, folder: Path, seconds: dict[str, float]) -> Path:
    """Do the stages before training; return the run folder."""
    stories = folder / "stories.jsonl"
    # A few more than are asked for, since stories that are told twice are dropped.
    firsts = range(0, options.stories + options.stories // 10, CHUNK)
    with (
        _timed(seconds, "storyteller"),
        ProcessPoolExecutor(os.cpu_count()) as pool,
        stories.open("w") as file,
    ):
        for lines in pool.map(_tell, firsts):
            file.write(lines)
    changes = {
        "corpus.source": str(stories),
        "corpus.stories": options.stories,
        "training.attention": "block",
        "training.story_start": 0.0,
        "training.validate_blocks": 512,
    }
    if options.steps:
        changes["training.steps"] = options.steps
    for change in options.set:
        key, _, value = change.partition("=")
        changes[key] = json.loads(value)
    with _timed(seconds, "corpus, tokenizer, tokens"):
        cores = os.cpu_count() or 1
        pipeline.run(
            options.recipe, folder / "run", overrides=changes, until="tokens", device="cpu", workers=cores
        )
    stories.unlink()
    return folder / "run"


def _tell(first: int) -> str:
    return "".join(json.dumps({"text": tell(0, n)}) + "\n" for n in range(first, first + CHUNK))


def _train(
    recipe: Recipe, tokens: Path, options: argparse.Namespace, seconds: dict[str, float]
) -> dict[str, Any]:
    device = torch.device(options.device)
    settings, on_gpu = recipe.training, device.type == "cuda"
    blocks = Blocks(Stories.open(tokens, "train"), recipe.model.context, settings.seed, settings.story_start)
    held_out = Stories.open(tokens, "valid")
    torch.manual_seed(settings.seed)
    trainer = Trainer(recipe, blocks, device)
    curve: dict[int, float] = {}
    window: list[torch.Tensor] = []
    with _timed(seconds, "first step (compiling, recording)"):
        trainer.step()[0].item()
    started = time.perf_counter()
    while trainer.done < settings.steps and time.perf_counter() - started < options.seconds:
        window.append(trainer.step()[0])
        if trainer.done % 1000 == 0 or trainer.done == settings.steps:
            curve[trainer.done] = round(torch.stack(window).mean().item(), 4)  # waits for the GPU
            window.clear()
            print(f"step {trainer.done}: {curve[trainer.done]}", file=sys.stderr, flush=True)
            if not math.isfinite(curve[trainer.done]):
                raise SystemExit(f"the loss is {curve[trainer.done]} at step {trainer.done}")
    if window:
        window[-1].item()
    taken = time.perf_counter() - started
    seconds["training"] = round(taken, 2)
    speed = (trainer.done - 1) * recipe.tokens_per_step / taken
    peak = matrix_peak(device)
    with _timed(seconds, "validation"):
        loss = packed_loss(
            trainer.logits, Blocks(held_out, recipe.model.context, 0), settings.validate_blocks
        )
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "torch": torch.__version__,
        "recipe": recipe.model_dump(),
        "parameters": recipe.parameters,
        "steps": trainer.done,
        "tokens": trainer.done * recipe.tokens_per_step,
        "tokens_per_second": round(speed),
        "matrix_peak_tflops": round(peak / 1e12, 1),
        "mfu": round(speed * flops_per_token(recipe) / peak, 4),
        "memory_gib": round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if on_gpu else None,
        "loss": curve,
        "held_out_nats_per_token": round(loss.loss, 5),
        "held_out_bits_per_byte_packed": round(held_out.bits_per_byte(loss.loss), 5),
    }


def _peer(options: argparse.Namespace) -> float | None:
    """Return the tokens a second of transformers' Trainer, in a process of its own."""
    script = Path(__file__).with_name("training.py")
    command = [sys.executable, str(script), "--peer", "trainer", "--recipe", options.recipe]
    command += ["--device", options.device, "--steps", str(options.peer_steps), "--warm", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"Trainer did not run: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])["tokens_per_second"]


if __name__ == "__main__":
    main()
