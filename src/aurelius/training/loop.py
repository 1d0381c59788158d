"""The training loop.

A run that is killed and started again ends with the same weights, bit for bit, on a CPU with the same
versions and number of threads: a checkpoint holds all that the next step depends on.
"""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aurelius import device as devices
from aurelius.artifacts import sha256, versions, write_bytes
from aurelius.errors import Interrupted, ModelError, RunError, TrainingDiverged, first_line
from aurelius.model import Llama
from aurelius.progress import SILENT, Progress
from aurelius.recipe import Recipe
from aurelius.tokens import IGNORED, Blocks, Stories
from aurelius.training import checkpoint, optimizers
from aurelius.training.validation import packed_loss

METRICS = "metrics.jsonl"


class Trainer:
    """Model, optimizers and data at one step of a training; it knows nothing of files."""

    def __init__(self, recipe: Recipe, blocks: Blocks, device: torch.device):
        self.recipe, self.blocks, self.device = recipe.training, blocks, device
        with devices.memory_errors(f"The model has {recipe.parameters:,} parameters: make it smaller"):
            self.model = Llama(recipe.model, recipe.tokenizer.vocab_size)
            self.model.initialise(self.recipe.seed)
            self.model.to(device)
        self.optimizers = optimizers.build(self.model, self.recipe)
        self.done = 0  # steps

    def step(self) -> tuple[Tensor, float]:
        """Train on the next ``batch`` blocks; return the loss (nats a token) and the gradient's norm.

        Raises:
            TrainingDiverged: loss or gradient is not finite; the weights are as before the step.
            MemoryExhausted: the batch does not fit; the message says what to change.
        """
        recipe = self.recipe
        inputs, targets = (
            torch.from_numpy(array).to(self.device)
            for array in self.blocks.batch(self.done * recipe.batch, recipe.batch)
        )
        count = (targets != IGNORED).sum().clamp(min=1)
        loss = torch.zeros((), device=self.device)
        pieces = zip(inputs.chunk(recipe.accumulate), targets.chunk(recipe.accumulate), strict=True)
        with devices.memory_errors(
            f"Cut the step's {recipe.batch} blocks into more pieces with training.accumulate "
            f"(now {recipe.accumulate}): the same training, less memory"
        ):
            for ids, wanted in pieces:
                with devices.precision(self.device):
                    part = self.model.loss(ids, wanted) / count
                part.backward()
                loss += part.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip or float("inf")).item()
        if not (norm < float("inf")):  # also when it is NaN
            raise TrainingDiverged(f"step {self.done + 1}: loss {loss.item():.4f}, gradient norm {norm}")
        share = optimizers.rate(self.done, recipe)
        for group in optimizers.groups(self.optimizers):
            group["lr"] = group["peak"] * share
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.done += 1
        return loss, norm

    def logits(self, ids: Tensor) -> Tensor:
        """Map ids [B, T] to float32 logits [B, T, V], for validation."""
        return self.model(ids.to(self.device))

    def tensors(self) -> dict[str, Tensor]:
        """Return everything beside weights that the next step depends on, as tensors."""
        found = optimizers.state_tensors(self.model, self.optimizers)
        found["/rng_cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            found["/rng_cuda"] = torch.cuda.get_rng_state(self.device)
        return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}

    def restore(self, weights: dict[str, Tensor], tensors: dict[str, Tensor], done: int) -> None:
        """Continue from a checkpoint after ``done`` steps.

        Raises:
            ModelError: the tensors are not those of this model and its optimizers.
        """
        tensors = dict(tensors)
        try:
            self.model.load_state_dict(weights)
            torch.set_rng_state(tensors.pop("/rng_cpu"))
            cuda = tensors.pop("/rng_cuda", None)
            if cuda is not None and self.device.type == "cuda":
                torch.cuda.set_rng_state(cuda, self.device)
            optimizers.load_state_tensors(self.model, self.optimizers, tensors)
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"the checkpoint of step {done} does not fit: {first_line(error)}") from None
        self.done = done


def train(
    recipe: Recipe, tokens: Path, out: Path, *, device: str = "auto", progress: Progress = SILENT
) -> Path:
    """Train, or go on training, and return the last checkpoint's folder.

    Args:
        recipe: its ``[model]`` and ``[training]`` are read, and ``tokenizer.vocab_size``.
        tokens: a token folder.
        out: the training folder; checkpoints there are continued from.
        device: auto, cpu, cuda or mps.
        progress: told tokens and loss.

    Raises:
        RunError: the tokens cannot be used, or ``out`` holds another training.
        ModelError: the newest checkpoint there is damaged.
        TrainingDiverged: the loss is no longer finite; the last good checkpoint is named.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was kept.
    """
    settings = recipe.training
    context = recipe.model.context
    blocks = Blocks(Stories.open(tokens, "train"), context, settings.seed)
    held_out = Stories.open(tokens, "valid")
    validation = Blocks(held_out, context, 0) if len(held_out.ids) >= context else None
    target = devices.pick(device)
    torch.manual_seed(settings.seed)
    trainer = Trainer(recipe, blocks, target)
    environment = {"device": target.type, "threads": torch.get_num_threads(), "versions": versions()}
    identity = {
        "model": recipe.model.model_dump(),
        "training": settings.model_dump(),
        "vocab_size": recipe.tokenizer.vocab_size,
        "tokens": {name: sha256(tokens / name) for name in ("train.bin", "train.documents.npy")},
    }
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.sweep(out)
    seconds, pending = _resume(trainer, out, identity, environment, progress)
    losses = [torch.tensor(value, device=target) for value in pending]  # since the last line of the metrics
    started = time.monotonic() - seconds
    per_step = settings.batch * context

    def save() -> Path:
        state = {
            "step": trainer.done,
            "blocks": trainer.done * settings.batch,
            "tokens": trainer.done * per_step,
            "epoch": trainer.done * settings.batch / blocks.per_epoch,
            "seconds": round(time.monotonic() - started, 3),
            "pending_losses": [loss.item() for loss in losses],
            **environment,
            "made_from": identity,
        }
        return checkpoint.write(out, trainer.done, trainer.model, trainer.tensors(), state, settings.keep)

    with (
        _stop_signals() as stop,
        (out / METRICS).open("a", encoding="utf-8") as metrics,
        progress.task("training", settings.steps * per_step, "tokens", trainer.done * per_step) as task,
    ):

        def record(**values: Any) -> None:
            line = {"step": trainer.done, "tokens": trainer.done * per_step, **values}
            metrics.write(json.dumps(line) + "\n")
            metrics.flush()

        clock, counted, valid = time.monotonic(), trainer.done, ""
        while trainer.done < settings.steps:
            try:
                loss, norm = trainer.step()
            except TrainingDiverged as error:
                raise TrainingDiverged(f"{error}; {_advice(out)}") from None
            losses.append(loss)
            last = trainer.done == settings.steps
            if trainer.done % settings.log_every == 0 or last:
                mean, now = torch.stack(losses).mean().item(), time.monotonic()
                record(
                    loss=round(mean, 5),
                    gradient_norm=round(norm, 4),
                    rate=round(optimizers.rate(trainer.done - 1, settings), 5),
                    tokens_per_second=round((trainer.done - counted) * per_step / (now - clock)),
                    seconds=round(now - started, 2),
                )
                losses.clear()
                clock, counted = now, trainer.done
                task.advance(0, f"loss {mean:.3f}{valid}")
            task.advance(per_step)
            if (trainer.done % settings.validate_every == 0 or last) and validation:
                value = packed_loss(trainer.logits, validation, settings.validate_blocks).loss
                record(valid_loss=round(value, 5))
                valid = f", held-out {value:.3f}"
                clock, counted = time.monotonic(), trainer.done
            if trainer.done % settings.checkpoint_every and not last and not stop.signal:
                continue
            path = save()
            if stop.signal:
                name = signal.Signals(stop.signal).name
                raise Interrupted(
                    f"stopped by {name} at step {trainer.done} of {settings.steps}; {path} is kept: "
                    "the same command goes on from there",
                    128 + stop.signal,
                )
    return checkpoint.latest(out)


def _resume(
    trainer: Trainer, out: Path, identity: dict[str, Any], environment: dict[str, Any], progress: Progress
) -> tuple[float, list[float]]:
    """Continue from the newest checkpoint, if any, and cut the metrics back to it.

    Returns its seconds and its losses since the last line of the metrics.
    """
    found = checkpoint.every(out)
    step, seconds, pending = 0, 0.0, []
    if found:
        state = checkpoint.read_state(found[-1])
        changed = [key for key in identity if state["made_from"][key] != identity[key]]
        if changed:
            raise RunError(
                f"{found[-1]} was made with another {' and '.join(changed)}; train into another folder, "
                f"or move {out} away to start anew"
            )
        weights, tensors = checkpoint.read(found[-1])
        for key, now in environment.items():
            if state[key] != now:
                progress.warn(
                    f"the checkpoint was made with {key} {_difference(state[key], now)}: training goes on, "
                    "but not bit for bit as it would have there"
                )
        step, seconds, pending = state["step"], state["seconds"], state["pending_losses"]
        trainer.restore(weights, tensors, step)
        progress.note(f"training goes on from step {step}")
    metrics = out / METRICS
    if metrics.exists():
        lines = metrics.read_bytes().splitlines(keepends=True)
        write_bytes(metrics, b"".join(line for line in lines if _belongs(line, step)))
    return seconds, pending


def _belongs(line: bytes, step: int) -> bool:
    """Whether a line of the metrics is whole (a kill may leave half of one) and not after ``step``."""
    try:
        return line.endswith(b"\n") and json.loads(line)["step"] <= step
    except (ValueError, KeyError, TypeError):
        return False


def _difference(then: Any, now: Any) -> str:
    if isinstance(then, dict):
        return ", ".join(f"{k} {then.get(k)} (now {now.get(k)})" for k in now if then.get(k) != now.get(k))
    return f"{then} (now {now})"


def _advice(out: Path) -> str:
    found = checkpoint.every(out)
    kept = f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
    return (
        f"{kept}. Lower training.learning_rate and training.muon_learning_rate, or raise training.warmup, "
        "into another folder or with --update"
    )


class _Stop:
    signal = 0


@contextmanager
def _stop_signals() -> Iterator[_Stop]:
    """Note the first Ctrl-C or SIGTERM, so that the step and its checkpoint can finish; the second acts."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    before = {s: handler for s, handler in before.items() if handler is not signal.SIG_IGN}  # nohup means it

    def note(number: int, _frame: Any) -> None:
        stop.signal = number
        for s, handler in before.items():
            signal.signal(s, handler)

    for s in before:
        signal.signal(s, note)
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
