"""Tokens per second in training, compared with how people train such a model today.

Every peer trains the same shape on as many random tokens with the same batch, micro-batch, context and
precision, in a process of its own; the peers take turns, round after round, so that a busy machine slows
all of them. The ratio to Trainer is taken within a round. Attention reaches over the whole block, but in
`aurelius-story`, the default, over the token's own story only; `aurelius-adamw` replaces Muon, so that
nothing but the code differs from Trainer.

    python benchmarks/training.py --recipe nano --json nano.json
    python benchmarks/training.py --recipe nano --busy 1 --json nano-busy.json
    python benchmarks/training.py --recipe large --micro 8 --steps 2 --json large.json

litgpt needs older packages than ours: give the Python of an environment that has it with ``--litgpt-python``.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

PEERS = ("aurelius-story", "aurelius", "aurelius-adamw", "trainer", "eager", "litgpt")
BLOCK = {"training.attention": "block", "training.story_start": 0.0}
OURS = {
    "aurelius": BLOCK,
    "aurelius-adamw": {**BLOCK, "optimizer.name": "adamw"},
    "aurelius-autograd": {"training.engine": "autograd"},  # the default without compiled code; on request
}


def main() -> None:
    """Run the peers in turns, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipe", default="nano")
    parser.add_argument("--batch", type=int, help="sequences per step (default: the recipe's)")
    parser.add_argument("--micro", type=int, help="sequences per micro-batch (default: the batch)")
    parser.add_argument("--steps", type=int, default=12, help="timed steps per round")
    parser.add_argument("--warm", type=int, default=2, help="warm-up steps per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--litgpt-python", default=sys.executable)
    parser.add_argument(
        "--busy", type=int, default=0, help="other processes, each of which keeps a core busy"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(_time_peer(options)))
        return
    names = options.peers.split(",")
    rounds: list[dict[str, float]] = []
    beside = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)]
    try:
        for number in range(options.rounds):
            speeds = {name: _ask(name, options) for name in names}
            rounds.append({name: speed for name, speed in speeds.items() if speed})
            told = ", ".join(f"{name} {speed:,.0f}" for name, speed in rounds[-1].items())
            print(f"round {number + 1}: {told} tokens/s", flush=True)
    finally:
        for process in beside:
            process.kill()
    result = _summary(rounds, options)
    _print(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def _ask(name: str, options: argparse.Namespace) -> float | None:
    """Return a peer's tokens per second, measured in a process of its own; None if it cannot run."""
    python = options.litgpt_python if name == "litgpt" else sys.executable
    command = [python, __file__, "--peer", name, "--recipe", options.recipe, "--device", options.device]
    command += ["--steps", str(options.steps), "--warm", str(options.warm)]
    if name == "litgpt":  # its environment does not have our recipes
        command += ["--shape", json.dumps(_recipe(options).model_dump())]
    for option in ("batch", "micro"):
        if getattr(options, option):
            command += [f"--{option}", str(getattr(options, option))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{name} did not run: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])["tokens_per_second"]


def _summary(rounds: list[dict[str, float]], options: argparse.Namespace) -> dict:
    peak = matrix_peak(torch.device(options.device))
    recipe = _recipe(options)
    flops = flops_per_token(recipe)
    table = {}
    for name in rounds[0]:
        speeds = [r[name] for r in rounds if name in r]
        ratios = [r[name] / r["trainer"] for r in rounds if name in r and "trainer" in r]
        table[name] = {
            "tokens_per_second": statistics.median(speeds),
            "lowest": min(speeds),
            "highest": max(speeds),
            "times_trainer": statistics.median(ratios) if ratios else None,
            "ratios": [round(ratio, 3) for ratio in ratios],
            "share_of_peak": statistics.median(speeds) * flops / peak,
        }
    return {
        "recipe": options.recipe,
        "batch": recipe.training.batch,
        "micro": recipe.training.batch // recipe.training.accumulate,
        "context": recipe.model.context,
        "parameters": recipe.parameters,
        "flops_per_token": flops,
        "device": options.device,
        "threads": torch.get_num_threads(),
        "busy": options.busy,
        "torch": torch.__version__,
        "peak_flops": peak,
        "peers": table,
    }


def flops_per_token(recipe) -> float:
    """Return the operations per token of a forward and backward pass; causal attention counts half."""
    model = recipe.model
    return 6 * model.matmul_parameters(recipe.tokenizer.vocab_size) + 6 * model.layers * model.d_model * (
        model.context
    )


def matrix_peak(device: torch.device) -> float:
    """Measure matrix products (operations per second) in the precision of training."""
    kind, size = (torch.bfloat16, 8192) if device.type == "cuda" else (torch.float32, 2048)
    a = torch.randn(size, size, device=device, dtype=kind)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        (a @ a)[0, 0].item()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def _print(result: dict) -> None:
    print(
        f"\n{result['recipe']}: {result['parameters']:,} parameters, {result['batch']} blocks of "
        f"{result['context']} a step ({result['micro']} at once), {result['device']}, "
        f"{result['threads']} threads, {result['busy']} busy processes beside, torch {result['torch']}, "
        f"matrix products {result['peak_flops'] / 1e9:,.0f} GFLOP/s"
    )
    print(f"{'':16}{'tokens/s':>10}{'lowest':>10}{'highest':>10}{'of peak':>10}{'x Trainer':>11}")
    for name, row in result["peers"].items():
        ratio = row["times_trainer"]
        print(
            f"{name:16}{row['tokens_per_second']:>10,.0f}{row['lowest']:>10,.0f}{row['highest']:>10,.0f}"
            f"{row['share_of_peak']:>10.0%}" + (f"{ratio:>11.2f}" if ratio else "")
        )


# What follows runs in the peers' processes.


def _recipe(options: argparse.Namespace):
    from aurelius.config.recipe import Recipe

    recipe = Recipe.load(options.recipe)
    batch = options.batch or recipe.training.batch
    micro = options.micro or batch
    return recipe.with_(
        **{"training.batch": batch, "training.accumulate": batch // micro, "training.steps": 1_000_000}
    )


def _blocks(recipe):
    """Return blocks of random tokens in stories as long as real ones."""
    from aurelius.data.blocks import Blocks
    from aurelius.data.store import TokenStore
    from aurelius.special_tokens import BOS, EOS

    random = np.random.default_rng(0)
    starts = np.arange(0, 235 * 2001, 235)
    ids = random.integers(4, recipe.tokenizer.vocab_size, starts[-1]).astype(np.uint16)
    ids[starts[:-1]], ids[starts[1:] - 1] = BOS, EOS
    return Blocks(TokenStore(ids, starts), recipe.model.context, 0)


def _time_peer(options: argparse.Namespace) -> dict[str, float]:
    ticks: list[float] = []
    device = torch.device(options.device)

    def tick() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
        ticks.append(time.perf_counter())

    steps = options.warm + options.steps
    if options.peer == "litgpt":
        shape = options.shape
        per_step = shape["training"]["batch"] * shape["model"]["context"]
        _litgpt(shape, device, steps, tick)
    else:
        recipe = _recipe(options)
        per_step = recipe.training.batch * recipe.model.context
        run = {"trainer": _trainer, "eager": _eager}.get(options.peer, _aurelius)
        run(recipe.with_(**OURS.get(options.peer, {})), device, steps, tick)
    return {"tokens_per_second": per_step / float(np.median(np.diff(ticks)[options.warm - 1 :]))}


def _aurelius(recipe, device: torch.device, steps: int, tick: Callable[[], None]) -> None:
    from aurelius.training.trainer import Trainer

    trainer = Trainer(recipe, _blocks(recipe), device)
    for _ in range(steps):
        trainer.step()
        tick()


def _llama(recipe):
    from transformers import LlamaConfig, LlamaForCausalLM

    from aurelius.export.huggingface import config

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**config(recipe)))


def _micro_batches(recipe) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    blocks = _blocks(recipe)
    size = recipe.training.batch // recipe.training.accumulate
    first = 0
    while True:
        ids, targets = map(torch.from_numpy, blocks.batch(first, size))
        yield ids, targets
        first += size


def _eager(recipe, device: torch.device, steps: int, tick: Callable[[], None]) -> None:
    """Train stock Llama in the loop of the tutorials."""
    settings = recipe.training
    model: Any = _llama(recipe)
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.optimizer.learning_rate, fused=True)
    batches = _micro_batches(recipe)
    for _ in range(steps):
        for _ in range(settings.accumulate):
            ids, targets = (part.to(device) for part in next(batches))
            with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
                logits = model(input_ids=ids, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
            (loss / settings.accumulate).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        tick()


def _trainer(recipe, device: torch.device, steps: int, tick: Callable[[], None]) -> None:
    """Train with transformers' Trainer and its fused AdamW, without logging or checkpoints."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    settings = recipe.training
    blocks = _blocks(recipe)

    class Data(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return steps * settings.batch

        def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
            ids, _ = blocks.batch(number, 1)
            ids = torch.from_numpy(ids[0])
            return {"input_ids": ids, "labels": ids}

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            tick()

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=settings.batch // settings.accumulate,
            gradient_accumulation_steps=settings.accumulate,
            max_steps=steps,
            learning_rate=recipe.optimizer.learning_rate,
            max_grad_norm=settings.gradient_clip,
            optim="adamw_torch_fused",
            bf16=device.type == "cuda",
            use_cpu=device.type == "cpu",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        Trainer(_llama(recipe), arguments, train_dataset=Data(), callbacks=[Clock()]).train()


def _litgpt(shape: dict, device: torch.device, steps: int, tick: Callable[[], None]) -> None:
    """Train litgpt's model as its `pretrain` does: Fabric, fused AdamW; compiled on a GPU."""
    from lightning import Fabric  # pyright: ignore[reportMissingImports]
    from litgpt import GPT, Config  # pyright: ignore[reportMissingImports]
    from litgpt.utils import chunked_cross_entropy  # pyright: ignore[reportMissingImports]

    model, settings = shape["model"], shape["training"]
    vocab_size = shape["tokenizer"]["vocab_size"]
    fabric = Fabric(
        accelerator="cuda" if device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if device.type == "cuda" else "32-true",
    )
    gpt = GPT(
        Config(
            block_size=model["context"],
            n_layer=model["layers"],
            n_embd=model["d_model"],
            n_head=model["heads"],
            n_query_groups=model["kv_heads"],
            head_size=model["d_model"] // model["heads"],
            intermediate_size=model["d_mlp"],
            padded_vocab_size=vocab_size,
            rotary_percentage=1.0,
            parallel_residual=False,
            bias=False,
            norm_class_name="RMSNorm",
            mlp_class_name="LLaMAMLP",
        )
    )
    gpt.lm_head.weight = gpt.transformer.wte.weight
    if device.type == "cuda":
        gpt = torch.compile(gpt)
    gpt = fabric.setup(gpt)
    optimizer = fabric.setup_optimizers(
        torch.optim.AdamW(gpt.parameters(), shape["optimizer"]["learning_rate"], fused=True)
    )
    micro = settings["batch"] // settings["accumulate"]
    random = torch.Generator().manual_seed(0)
    for _ in range(steps):
        for _ in range(settings["accumulate"]):
            ids = torch.randint(4, vocab_size, (micro, model["context"] + 1), generator=random)
            ids = ids.to(fabric.device)
            loss = chunked_cross_entropy(gpt(ids[:, :-1]), ids[:, 1:], chunk_size=0)
            fabric.backward(loss / settings["accumulate"])
        fabric.clip_gradients(gpt, optimizer, max_norm=settings["gradient_clip"])
        optimizer.step()
        optimizer.zero_grad()
        tick()


if __name__ == "__main__":
    main()
