"""The reference card's training budget on one GPU: 30,252 steps of 26,624 tokens, and how long they take.

It writes its own 500,000 stories, then does what `aurelius run large` does with them, and times transformers'
Trainer on the same batch afterwards. Nothing comes from the network:

    python benchmarks/headline.py --out runs/headline --json headline.json

The attention mask spans the whole block, as the card's does. The JSON is written after each part, so a run
that is cut off leaves what it has measured; the same command resumes it.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import aurelius
from aurelius.config.recipe import Recipe
from aurelius.corpus.storyteller import tell
from aurelius.errors import Interrupted
from aurelius.files import read_json
from aurelius.training.metrics import read_metrics
from training import flops_per_token, matrix_peak

CHUNK = 2000  # stories a process writes at once
REPORT = "evaluation/report.json"


def main() -> None:
    """Write the stories, train, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipe", default="large")
    parser.add_argument("--out", type=Path, default=Path("runs/headline"), help="the run folder")
    parser.add_argument("--stories", type=int, default=500_000)
    parser.add_argument("--steps", type=int, help="fewer than the recipe's, for a first look")
    parser.add_argument(
        "--peer-steps", type=int, default=200, help="steps of transformers' Trainer; 0 skips it"
    )
    parser.add_argument("--seconds", type=float, default=420.0, help="stop training after this long")
    parser.add_argument("--prepare", action="store_true", help="stop before training")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the recipe")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {"seconds": {}}
    recipe = _prepare(options, result["seconds"])
    if options.prepare:
        return
    result |= _machine(torch.device(options.device))
    _write(result, options.json)
    stop = threading.Timer(options.seconds, signal.raise_signal, [signal.SIGTERM])
    stop.daemon = True
    stop.start()
    try:
        with _timed(result["seconds"], "training"):
            aurelius.run(options.out, until="training", device=options.device)
    except Interrupted as cut:
        print(cut, file=sys.stderr)
    stop.cancel()
    result |= _figures(recipe, options.out, result["matrix_peak_tflops"] * 1e12)
    if options.device == "cuda":
        result["memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    _write(result, options.json)
    if result["steps"] == recipe.training.steps:
        with _timed(result["seconds"], "evaluation, export"):
            aurelius.run(options.out, device=options.device)
        result["report"] = read_json(options.out / REPORT)
        _write(result, options.json)
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


def _prepare(options: argparse.Namespace, seconds: dict[str, float]) -> Recipe:
    """Write the stories and run the stages before training, unless that was done before."""
    if (options.out / "tokens/manifest.json").exists():
        return Recipe.load(options.out)
    stories = options.out.with_name(options.out.name + "-stories.jsonl")
    stories.parent.mkdir(parents=True, exist_ok=True)
    # A few more than are wanted: near duplicates are dropped.
    firsts = range(0, options.stories + options.stories // 10, CHUNK)
    cores = os.cpu_count() or 1
    with _timed(seconds, "storyteller"), ProcessPoolExecutor(cores) as pool, stories.open("w") as file:
        for lines in pool.map(_tell, firsts):
            file.write(lines)
    changes = {
        "corpus.source": str(stories),
        "corpus.stories": options.stories,
        "training.attention": "block",
        "training.story_start": 0.0,
        "training.log_every": 100,
        "training.validate_every": 2500,
        "training.checkpoint_every": 10_000,
        "evaluation.stories": 2000,
    }
    if options.steps:
        changes["training.steps"] = options.steps
    for change in options.set:
        key, _, value = change.partition("=")
        changes[key] = json.loads(value)
    with _timed(seconds, "corpus, tokenizer, tokens"):
        run = aurelius.run(
            options.recipe, options.out, overrides=changes, until="tokens", device="cpu", workers=cores
        )
    return run.recipe


def _tell(first: int) -> str:
    return "".join(json.dumps({"text": tell(0, n)}) + "\n" for n in range(first, first + CHUNK))


def _machine(device: torch.device) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "matrix_peak_tflops": round(matrix_peak(device) / 1e12, 3),
    }


def _figures(recipe: Recipe, run: Path, peak: float) -> dict[str, Any]:
    """Return what the metrics of a training say."""
    lines = read_metrics(run / "training")
    logged = [line for line in lines if "loss" in line]
    steps, per_step = logged[-1]["step"], recipe.tokens_per_step
    # The first line's time holds compiling; a restart's speed does too.
    speed = statistics.median(line["tokens_per_second"] for line in logged[1:] or logged)
    return {
        "recipe": recipe.model_dump(),
        "parameters": recipe.parameters,
        "steps": steps,
        "tokens": steps * per_step,
        "seconds_of_steps": logged[-1]["seconds"],
        "compile_seconds": round(logged[0]["seconds"] - logged[0]["tokens"] / speed, 2),
        "tokens_per_second": speed,
        "mfu": round(speed * flops_per_token(recipe) / peak, 4),
        "loss": {
            line["step"]: line["loss"] for line in logged if line["step"] % 1000 == 0 or line is logged[-1]
        },
        "valid_loss": {line["step"]: line["valid_loss"] for line in lines if "valid_loss" in line},
    }


def _peer(options: argparse.Namespace) -> float | None:
    """Return the tokens per second of transformers' Trainer, in a process of its own."""
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
