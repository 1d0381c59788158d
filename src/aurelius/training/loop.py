"""The training loop.

A run that is killed and started again ends with the same weights, bit for bit, on a CPU with the same
versions and number of threads: a checkpoint holds all that the next step depends on.
"""

import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from signal import Signals
from typing import Any

import torch

from aurelius import device as devices
from aurelius import signals
from aurelius.config.recipe import Recipe
from aurelius.data.blocks import Blocks
from aurelius.data.store import TokenStore
from aurelius.errors import Interrupted, ModelError, RunError, TrainingDiverged
from aurelius.files import sha256
from aurelius.progress import SILENT, Progress
from aurelius.training import checkpoint, metrics, schedule
from aurelius.training import distributed as distribution
from aurelius.training.trainer import Trainer
from aurelius.training.validation import packed_loss
from aurelius.versions import versions


def train(
    recipe: Recipe,
    tokens: Path,
    out: Path,
    *,
    device: str = "auto",
    auto_batch: bool = False,
    track: Iterable[str] = (),
    progress: Progress = SILENT,
) -> Path:
    """Train, or go on training, and return the last checkpoint's folder.

    Under ``torchrun`` every process calls this with the same arguments, inside `distribution.joined`.

    Args:
        recipe: its ``[model]`` and ``[training]`` are read, and ``tokenizer.vocab_size``.
        tokens: a token folder.
        out: the training folder; checkpoints there are continued from.
        device: auto, cpu, cuda or mps.
        auto_batch: cut a step into as many micro-batches as the memory asks for.
        track: names of trackers (tensorboard, trackio, wandb) that are told what metrics.jsonl is.
        progress: told tokens and loss.

    Raises:
        RunError: the tokens cannot be used, or ``out`` holds another training.
        ModelError: no checkpoint there can be used.
        RecipeError: a tracker is unknown or not installed; the processes cannot share a step's blocks.
        MemoryExhausted: a step does not fit; the message says what to change.
        TrainingDiverged: the loss is no longer finite, or jumped; the last good checkpoint is named.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was kept.
    """
    settings = recipe.training
    context = recipe.model.context
    world = distribution.World()
    blocks = Blocks(TokenStore.open(tokens, "train"), context, settings.seed, settings.story_start)
    held_out = TokenStore.open(tokens, "valid")
    validation = Blocks(held_out, context, 0) if len(held_out.ids) >= context else None
    target = devices.pick(device)
    torch.manual_seed(settings.seed)
    trainer = Trainer(recipe, blocks, target, world)
    if auto_batch:
        fitting = trainer.fit()
        if fitting > settings.accumulate:
            progress.note(f"a step is cut into {fitting} micro-batches to fit the memory")
    environment = {
        "device": target.type,
        "threads": torch.get_num_threads(),
        "processes": world.size,
        "pieces": trainer.pieces,
        "versions": versions(),
    }
    identity = {
        "model": recipe.model.model_dump(),
        "training": settings.model_dump(exclude={"accumulate", "start"}),
        "vocab_size": recipe.tokenizer.vocab_size,
        "tokens": {name: sha256(tokens / name) for name in ("train.bin", "train.documents.npy")},
    }
    if world.first:
        out.mkdir(parents=True, exist_ok=True)
        checkpoint.sweep(out)
    if settings.start and not checkpoint.every(out):
        trainer.begin_with(Path(settings.start))
    seconds, losses = _resume(trainer, out, identity, environment, progress)
    # Losses and gradient norms since the last line of the metrics.
    window = [torch.tensor([loss, 0.0], device=target) for loss in losses]
    before = [line["loss"] for line in metrics.read(out) if "loss" in line and line["step"] <= trainer.done]
    lowest = min(before, default=float("inf"))
    started = time.monotonic() - seconds
    per_step = settings.batch * context

    def save() -> None:
        _check_finite(window, trainer.done, out)
        state = {
            "step": trainer.done,
            "blocks": trainer.done * settings.batch,
            "tokens": trainer.done * per_step,
            "epoch": trainer.done * settings.batch / blocks.per_epoch,
            "seconds": round(time.monotonic() - started, 3),
            "pending_losses": [pair[0].item() for pair in window],
            **environment,
            "made_from": identity,
        }
        checkpoint.write(out, trainer.done, trainer.model, trainer.tensors(), state, settings.keep)

    opened = metrics.opened(out, trainer.done, track, identity) if world.first else nullcontext()
    with (
        signals.noted() as stopping,
        opened as log,
        progress.task("training", settings.steps * per_step, "tokens", trainer.done * per_step) as task,
    ):

        def record(**figures: float) -> None:
            if log:
                log.record(trainer.done, trainer.done * per_step, **figures)

        def due(every: int) -> bool:
            return trainer.done % every == 0 or trainer.done == settings.steps

        clock, counted, valid = time.monotonic(), trainer.done, ""
        if not settings.steps and world.first and not checkpoint.every(out):
            save()  # the weights that training was to start with
        while trainer.done < settings.steps:
            window.append(torch.stack(trainer.step()))
            # A GPU works ahead of us; looking at a figure waits for it.
            waits = target.type != "cuda" or due(settings.log_every)
            if waits:
                _check_finite(window, trainer.done, out)
            if due(settings.log_every):
                mean, norm = torch.stack(window)[:, 0].mean().item(), window[-1][1].item()
                if settings.spike and mean > lowest + settings.spike:
                    raise TrainingDiverged(
                        f"step {trainer.done}: the loss jumped to {mean:.4f} from {lowest:.4f}, gradient "
                        f"norm {norm:.4g}; {_advice(out)} (training.spike is how far it may rise)"
                    )
                lowest, now = min(lowest, mean), time.monotonic()
                record(
                    loss=round(mean, 5),
                    gradient_norm=round(norm, 4),
                    rate=round(schedule.rate(trainer.done - 1, settings), 5),
                    tokens_per_second=round((trainer.done - counted) * per_step / (now - clock)),
                    seconds=round(now - started, 2),
                )
                window.clear()
                clock, counted = now, trainer.done
                task.advance(0, f"loss {mean:.3f}{valid}")
            task.advance(per_step)
            if due(settings.validate_every) and validation and world.first:
                with devices.memory_errors(
                    "Validation needs what it asks for beside a step: raise accumulate"
                ):
                    value = packed_loss(trainer.logits, validation, settings.validate_blocks).loss
                record(
                    valid_loss=round(value, 5), valid_bits_per_byte=round(held_out.bits_per_byte(value), 5)
                )
                valid = f", held-out {value:.3f}"
                clock, counted = time.monotonic(), trainer.done
            # Several processes have to agree on whether one of them was asked to stop.
            asked = world.highest(stopping.signal) if world.size == 1 or waits else 0
            if (due(settings.checkpoint_every) or asked) and world.first:
                save()
            if asked:
                world.highest(0)  # the first process has saved before another ends
                raise Interrupted(
                    f"stopped by {Signals(asked).name} at step {trainer.done} of {settings.steps}; a "
                    f"checkpoint is kept in {out}: the same command goes on from there",
                    128 + asked,
                )
    world.highest(0)  # wait for the last checkpoint
    return checkpoint.latest(out)


def _resume(
    trainer: Trainer, out: Path, identity: dict[str, Any], environment: dict[str, Any], progress: Progress
) -> tuple[float, list[float]]:
    """Continue from the newest checkpoint that can be used, if there is one.

    Returns its seconds and its losses since the last line of the metrics.
    """
    seconds, losses, broken = 0.0, [], None
    for path in reversed(checkpoint.every(out)):
        try:
            state = checkpoint.read_state(path)
            changed = [key for key in identity if state["made_from"].get(key) != identity[key]]
            if changed:
                raise RunError(
                    f"{path} was made with another {' and '.join(changed)}; train into another folder, "
                    f"or move {out} away to start anew"
                )
            trainer.restore(*checkpoint.read(path, state), state["step"])
        except ModelError as error:
            broken = error
            continue
        for key, now in environment.items():
            if state[key] != now:
                progress.warn(
                    f"the checkpoint was made with {key} {_difference(state[key], now)}: training goes on, "
                    "but not bit for bit as it would have there"
                )
        seconds, losses = state["seconds"], state["pending_losses"]
        progress.note(f"training goes on from step {trainer.done}")
        break
    if broken and not trainer.done:
        raise ModelError(f"{broken}; no other checkpoint can be used: move {out} away to start anew")
    if broken:
        progress.warn(f"{broken}; going on from the newest that can be used, step {trainer.done}")
    if trainer.world.highest(trainer.done) != trainer.done:
        raise RunError(
            f"the processes found different checkpoints in {out}: is it one folder for all of them?"
        )
    if trainer.world.first:
        checkpoint.put_aside(out, trainer.done)
    return seconds, losses


def _check_finite(window: list[torch.Tensor], done: int, out: Path) -> None:
    """Stop at the first gradient of the window that is not finite."""
    figures = torch.stack(window).tolist() if window else []
    for step, (loss, norm) in enumerate(figures, done - len(figures) + 1):
        if not norm < float("inf"):  # also when it is NaN
            raise TrainingDiverged(f"step {step}: loss {loss:.4f}, gradient norm {norm}; {_advice(out)}")


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
