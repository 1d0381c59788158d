"""How good a model is after so many minutes, against transformers' Trainer with a tuned AdamW.

Every model is a complete training of its own on the same stories and cores, with the rate at zero at its end.

- `auto` gets a quarter and a half of the minutes, for the whole command: reading and cleaning the corpus,
  tokenizer, encoding, sizing, training, evaluation and export. Nothing of it is tuned here.
- Trainer gets all of the minutes for its steps alone; tokenizer and tokens are prepared for it. It trains the
  shape of `nano`, and the one that `auto` chooses for all of the minutes, each with its tokenizer. Its rate
  is tuned: trainings of a quarter of the minutes, measured on a tenth of the stories that they did not see.

Then each is measured once on the validation sample.

    python benchmarks/time_to_quality.py SAMPLES --json docs/figures/time_to_quality.json
    python benchmarks/time_to_quality.py SAMPLES --json docs/figures/time_to_quality.json --seed 1
    python benchmarks/time_to_quality.py --json docs/figures/time_to_quality.json --draw

SAMPLES is the folder with the three samples of TinyStories. What the JSON has already is not repeated; each
JSON is of one number of ``--minutes``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aurelius
from aurelius.config.recipe import Recipe
from aurelius.corpus.readers.sources import open_path
from aurelius.data.stories import read_stories
from aurelius.evaluation.likelihood import measure
from aurelius.figures import COLOURS, new_figure, to_svg
from aurelius.inference.open_model import open_model
from sample_race import TRAIN, VALID

TUNED_ON = 500  # stories of the tenth
WARM, TIMED = 10, 40  # steps from which Trainer's speed is known
SHAPES = ("nano", "auto")


def main() -> None:
    """Run what the JSON lacks; or draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("samples", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.001, 0.002, 0.004])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument(
        "--draw", action="store_true", help="draw the JSON as SVG next to it, do nothing else"
    )
    parser.add_argument("--train", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        print(json.dumps(_train(**options.train)))
        return
    saved: dict[str, Any] = json.loads(options.json.read_text()) if options.json.is_file() else {}
    if options.draw:
        options.json.with_suffix(".svg").write_text(_figure(saved))
        return
    if not options.samples:
        parser.error("name the folder of the samples")
    if saved.setdefault("minutes", options.minutes) != options.minutes:
        parser.error(f"{options.json} is of {saved['minutes']:g} minutes; name another file")
    for name, minutes in (("quarter", options.minutes / 4), ("half", options.minutes / 2)):
        _once(saved, options, f"auto, {name}, seed {options.seed}", lambda m=minutes: _auto(options, m))
    for shape in SHAPES:
        rates = {}
        for rate in options.rates:
            name = f"Trainer, {shape}, rate {rate:g}"
            _once(saved, options, name, lambda s=shape, r=rate: _trainer(options, s, r, tuning=True))
            rates[rate] = saved[name]["bits_per_byte_text"]
        best = min(rates, key=lambda rate: rates[rate])
        name = f"Trainer, {shape}, seed {options.seed}"
        _once(saved, options, name, lambda s=shape, r=best: _trainer(options, s, r, tuning=False))


def _once(saved: dict[str, Any], options: argparse.Namespace, name: str, do: Any) -> None:
    if name not in saved:
        saved[name] = do()
        print(name, json.dumps(saved[name]), flush=True)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(saved, indent=2) + "\n")


def _corpus(options: argparse.Namespace) -> list[str]:
    return [str(options.samples / name) for name in TRAIN]


def _auto(options: argparse.Namespace, minutes: float) -> dict[str, Any]:
    run = options.out / f"auto-{minutes:g}-seed-{options.seed}"
    command = [sys.executable, "-m", "aurelius", "run", "--minutes", str(minutes), "--out", str(run)]
    for name in _corpus(options):
        command += ["--corpus", name]
    started = time.monotonic()
    subprocess.run(
        [*command, "--set", f"training.seed={options.seed}"], check=True, stdout=subprocess.DEVNULL
    )
    taken = (time.monotonic() - started) / 60
    recipe = Recipe.load(run)
    tokens = aurelius.open_run(run).report["trained"]["tokens"]
    return {
        "minutes": round(taken, 2),
        "parameters": recipe.parameters,
        "tokens": tokens,
        "steps": tokens // recipe.tokens_per_step,
        **_measure(run / "export/huggingface", options.samples / VALID),
    }


def _trainer(options: argparse.Namespace, shape: str, rate: float, tuning: bool) -> dict[str, Any]:
    """Prepare the tokens of a shape, then train and measure."""
    corpus: dict[str, Any] = {
        "corpus.source": _corpus(options),
        "corpus.valid_fraction": 0.1 if tuning else 0.02,
    }
    prepared = options.out / f"{shape}-{'tuning' if tuning else 'all'}"
    # What `auto` chooses depends on the machine's speed at the moment: it chooses once.
    first = options.out / "auto-tuning/recipe.toml"
    recipe = Recipe.load(first) if shape == "auto" and first.is_file() else shape
    minutes = options.minutes if recipe == "auto" else None
    run = aurelius.run(recipe, prepared, overrides=corpus, minutes=minutes, until="tokens")
    with tempfile.TemporaryDirectory() as folder:
        job = {
            "run": str(run.folder),
            "rate": rate,
            "minutes": options.minutes / (4 if tuning else 1),
            "seed": options.seed,
            "to": folder,
        }
        command = [sys.executable, __file__, "--json", str(options.json), "--train", json.dumps(job)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        held_out = run.folder / "corpus" if tuning else options.samples / VALID
        return {**json.loads(done.stdout.splitlines()[-1]), "rate": rate, **_measure(Path(folder), held_out)}


def _measure(model: Path, documents: Path) -> dict[str, float]:
    if documents.is_dir():
        texts = read_stories(documents, "valid")[:TUNED_ON]
    else:
        texts = [text for text in open_path(documents).stories if text]
    figures = measure(open_model(model), texts)
    return {
        "bits_per_byte_text": round(figures.bits_per_byte_text, 4),
        "standard_error": round(figures.standard_error, 4),
    }


def _train(run: str, rate: float, minutes: float, seed: int, to: str) -> dict[str, Any]:
    """Train stock Llama with Trainer on a run's tokens, end to end in blocks, and save it in ``to``."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from aurelius.data.blocks import Blocks
    from aurelius.data.store import TokenStore
    from aurelius.export import huggingface
    from aurelius.run_paths import RunPaths
    from aurelius.tokenizer.load import load

    paths = RunPaths(Path(run))
    recipe = Recipe.load(paths.folder)
    blocks = Blocks(TokenStore.open(paths.tokens, "train"), recipe.model.context, seed)
    batch = recipe.training.batch

    class Data(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 1 << 30

        def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
            ids = torch.from_numpy(blocks.batch(number, 1)[0][0])
            return {"input_ids": ids, "labels": ids}

    class InOrder(Trainer):  # the blocks are shuffled already
        def _get_train_sampler(self, *args: Any, **kwargs: Any):
            return torch.utils.data.SequentialSampler(Data())

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.ends.append(time.monotonic())

    def fit(steps: int) -> tuple[LlamaForCausalLM, list[float]]:
        torch.manual_seed(seed)
        model, clock = LlamaForCausalLM(LlamaConfig(**huggingface.config(recipe))), Clock()
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                folder,
                per_device_train_batch_size=batch,
                max_steps=steps,
                learning_rate=rate,
                warmup_steps=max(1, steps // 50),
                lr_scheduler_type="linear",
                weight_decay=0.1,
                adam_beta2=0.98,
                optim="adamw_torch_fused",
                use_cpu=True,
                seed=seed,
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            )
            InOrder(model, arguments, train_dataset=Data(), callbacks=[clock]).train()
        return model, clock.ends

    _, ends = fit(WARM + TIMED)
    steps = int(60 * minutes * TIMED / (ends[-1] - ends[WARM - 1]))
    started = time.monotonic()
    model, _ = fit(steps)
    taken = (time.monotonic() - started) / 60
    model.save_pretrained(to)
    tokenizer = load(paths.tokenizer_file)
    published = huggingface.published_tokenizer(paths.tokenizer_file.read_bytes(), tokenizer)
    (Path(to) / "tokenizer.json").write_bytes(published)
    settings = huggingface.tokenizer_config(recipe, blocks.store.special, tokenizer)
    (Path(to) / "tokenizer_config.json").write_text(json.dumps(settings))
    return {
        "minutes": round(taken, 2),
        "parameters": model.num_parameters(),
        "tokens": steps * batch * recipe.model.context,
        "steps": steps,
    }


def _figure(saved: dict[str, Any]) -> str:
    """Draw minutes against bits per byte, a dot for each complete training."""
    groups = {
        "auto": "auto",
        "Trainer, nano": "Trainer with nano, AdamW tuned",
        "Trainer, auto": "Trainer with the shape and tokenizer of auto, AdamW tuned",
    }
    told = []
    with new_figure(7.5, 3.6) as figure:
        axes = figure.subplots()
        for (start, label), colour in zip(groups.items(), COLOURS, strict=False):
            found = [v for name, v in saved.items() if name.startswith(start) and "seed" in name]
            if not found:
                continue
            points = [(round(v["minutes"], 1), v["bits_per_byte_text"]) for v in found]
            axes.plot(*zip(*sorted(points), strict=True), "o", color=colour, label=label)
            told += [f"{label}, {minutes:g} minutes: {bpb:.4f}" for minutes, bpb in sorted(points)]
        axes.set(xlabel="minutes on two cores", ylabel="bits per byte (lower is better)")
        axes.set_xlim(left=0)
        axes.legend()
        title = "Minutes and bits per byte on the validation sample"
        axes.set_title(title, loc="left", fontweight="bold")
        return to_svg(figure, title, "; ".join(told) + ".")


if __name__ == "__main__":
    main()
