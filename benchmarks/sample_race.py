"""How well `large` can learn from 21,000 stories: the training samples alone, gone through many times.

About 5 million tokens for 9.9 million parameters: data is scarce, and what counts is how well a model is
kept from memorising: weight decay up to 30 times the usual (Kim et al. 2025, arXiv 2509.14786), the number
of epochs, and weight averaging. Settings are chosen on a tenth of the training samples, and the best one is
scored once on the validation sample:

    python benchmarks/sample_race.py SAMPLES --seconds 80 --json race.json

SAMPLES is the folder with the three samples of TinyStories. Weight decays are tried first, then longer
trainings as long as they help. The JSON is written after each training.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import aurelius
from aurelius.config.recipe import Recipe
from aurelius.corpus.readers.sources import open_path
from aurelius.data.blocks import Blocks
from aurelius.data.store import TokenStore
from aurelius.evaluation.likelihood import measure
from aurelius.inference.generate import generate
from aurelius.inference.packed_loss import packed_loss
from aurelius.inference.run_model import RunModel
from aurelius.model.checkpoint_folder import MODEL
from aurelius.training.trainer import Trainer

TRAIN = ("TinyStoriesV2-GPT4-train.sample.txt", "TinyStories-v1-train.sample.jsonl")
VALID = "TinyStoriesV2-GPT4-valid.sample.txt"
PROMPT = "Once upon a time, a little boy named Paco"
AVERAGED = 0.1  # share of the steps that the average of weights reaches back


def main() -> None:
    """Prepare the samples, run the trainings, score the best."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--recipe", default="large")
    parser.add_argument("--seconds", type=float, default=80.0, help="begin no training after this long")
    parser.add_argument(
        "--epochs", type=float, default=8.0, help="of the trainings that compare weight decay"
    )
    parser.add_argument("--decays", type=float, nargs="+", default=[1.0, 3.0, 0.1])
    parser.add_argument("--batch", type=int, default=16, help="sequences per step")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    device = torch.device(options.device)
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "trainings": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        run = aurelius.run(
            options.recipe,
            Path(folder) / "run",
            overrides={
                "corpus.source": [str(options.samples / name) for name in TRAIN],
                "corpus.stories": 0,
                "corpus.valid_fraction": 0.1,
                "training.batch": options.batch,
            },
            until="tokens",
            workers=8 if device.type == "cuda" else 1,
        )
        result["seconds_to_prepare"] = round(time.perf_counter() - started, 1)
        best: tuple[float, dict[str, torch.Tensor]] = (math.inf, {})

        def attempt(epochs: float, decay: float) -> float:
            nonlocal best
            figures, weights = _train(run.recipe, run.folder, device, epochs, decay)
            figures["ended_after_seconds"] = round(time.perf_counter() - started, 1)
            result["trainings"].append(figures)
            print(json.dumps(figures), file=sys.stderr, flush=True)
            if figures["bits_per_byte"] < best[0]:
                best = figures["bits_per_byte"], weights
                result["best"] = figures
            _write(result, options.json)
            return figures["bits_per_byte"]

        def time_left() -> bool:
            return time.perf_counter() - started < options.seconds

        scores = {
            decay: attempt(options.epochs, decay)
            for number, decay in enumerate(options.decays)
            if not number or time_left()
        }
        decay, epochs = min(scores, key=lambda decay: scores[decay]), options.epochs
        score = scores[decay]
        while time_left():
            epochs *= 2
            longer = attempt(epochs, decay)
            if longer > score:
                break
            score = longer
        checkpoint = run.training / "step-000000"
        checkpoint.mkdir(parents=True)
        save_file({name: value.cpu().contiguous() for name, value in best[1].items()}, checkpoint / MODEL)
        scored = RunModel(run.folder)
        documents = [text for text in open_path(options.samples / VALID).stories if text]
        result["validation_sample"] = measure(scored, documents).as_json()
        result["story"] = generate(scored, PROMPT, seed=0).finish().text
    print(_write(result, options.json))


def _write(result: dict[str, Any], path: Path | None) -> str:
    text = json.dumps(result, indent=2)
    if path:
        path.write_text(text + "\n")
    return text


def _train(
    recipe: Recipe, run: Path, device: torch.device, epochs: float, decay: float
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Train once; return the figures and the better of the last weights and their average."""
    settings, context = recipe.training, recipe.model.context
    stories, held_out = (TokenStore.open(run / "tokens", side) for side in ("train", "valid"))
    blocks = Blocks(stories, context, settings.seed, settings.story_start)
    tuning = Blocks(held_out, context, 0)
    per_epoch = blocks.per_epoch // settings.batch
    steps = round(epochs * per_epoch)
    torch.manual_seed(settings.seed)
    trainer = Trainer(
        recipe.with_(**{"training.steps": steps, "optimizer.weight_decay": decay}), blocks, device
    )
    average = AveragedModel(
        trainer.model, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / (AVERAGED * steps / 10 + 1))
    )

    def score(logits: Any, limit: int | None) -> float:
        loss = packed_loss(logits, tuning, limit, batch=64).loss
        return round(held_out.bits_per_byte(loss), 5)

    curve: dict[int, float] = {}
    losses: list[torch.Tensor] = []
    started = time.perf_counter()
    while trainer.done < steps:
        losses.append(trainer.step()[0])
        if trainer.done % 10 == 0:
            average.update_parameters(trainer.model)
        if trainer.done % (2 * per_epoch) == 0:
            curve[trainer.done] = score(trainer.logits, 256)
    train_loss = torch.stack(losses[-per_epoch:]).mean().item()
    seconds = time.perf_counter() - started
    last = score(trainer.logits, None)
    averaged = score(lambda ids: average.module(ids.to(device), begin=trainer.begin), None)
    chosen = trainer.model if last <= averaged else average.module
    figures = {
        "epochs": epochs,
        "weight_decay": decay,
        "steps": steps,
        "seconds": round(seconds, 1),
        "tokens_per_second": round(steps * recipe.tokens_per_step / seconds),
        "train_nats_per_token": round(train_loss, 4),
        "bits_per_byte": min(last, averaged),
        "bits_per_byte_of_last_weights": last,
        "bits_per_byte_of_average": averaged,
        "curve": curve,
    }
    return figures, {name: value.detach().clone() for name, value in chosen.state_dict().items()}


if __name__ == "__main__":
    main()
