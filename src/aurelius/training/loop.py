"""The training loop.

A run that is killed and started again ends with the same weights, bit for bit, on a CPU with the same
versions and number of threads: a checkpoint holds everything that the next step depends on.
"""

import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from signal import Signals

import torch

from aurelius import device as devices
from aurelius import signals
from aurelius.config.recipe import Recipe
from aurelius.data.blocks import Blocks
from aurelius.data.store import TokenStore
from aurelius.errors import Interrupted, TrainingDiverged
from aurelius.inference.packed_loss import packed_loss
from aurelius.model.checkpoint_folder import list_checkpoints, newest_checkpoint
from aurelius.progress import SILENT, Progress
from aurelius.run_paths import CLOCK
from aurelius.training import checkpoint
from aurelius.training.clock import Clock
from aurelius.training.distributed import World
from aurelius.training.metrics import open_metrics, overfitting, read_metrics
from aurelius.training.resume import made_from, resume
from aurelius.training.schedule import Decay, Schedule
from aurelius.training.trainer import Trainer
from aurelius.versions import versions


def train(
    recipe: Recipe,
    tokens: Path,
    out: Path,
    *,
    device: str = "auto",
    seconds: float | None = None,
    auto_batch: bool = False,
    track: Iterable[str] = (),
    progress: Progress = SILENT,
) -> Path:
    """Train, or resume training, and return the folder of the last checkpoint.

    Under ``torchrun`` every process calls this with the same arguments, inside `distributed.process_group`.

    Args:
        recipe: its ``[model]``, ``[training]`` and ``[optimizer]`` are used, and ``tokenizer.vocab_size``.
        tokens: a token folder.
        out: the training folder; training resumes from the checkpoints in it.
        device: auto, cpu, cuda or mps.
        seconds: the time there is for training; the clock then decides when it decays and ends, and
            ``training.steps`` is only a plan. A resumed training has the time it was begun with.
        auto_batch: split steps into as many micro-batches as the memory requires.
        track: names of trackers (tensorboard, trackio, wandb) that get the same figures as metrics.jsonl.
        progress: reports tokens and loss.

    Raises:
        RunError: the tokens cannot be used, or ``out`` holds another training.
        ModelError: none of its checkpoints can be used.
        RecipeError: a tracker is unknown or not installed, or the processes cannot share a step's sequences.
        MemoryExhausted: a step does not fit in memory; the message says what to change.
        TrainingDiverged: the loss is no longer finite, or jumped; the last good checkpoint is named.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was saved.
    """
    begun, settings = time.monotonic(), recipe.training
    context = recipe.model.context
    track, world = tuple(track), World()
    blocks = Blocks(TokenStore.open(tokens, "train"), context, settings.seed, settings.story_start)
    held_out = TokenStore.open(tokens, "valid")
    validation = Blocks(held_out, context, 0) if len(held_out.ids) >= context else None
    target = devices.pick(device)
    torch.manual_seed(settings.seed)
    trainer = Trainer(recipe, blocks, target, world)
    if trainer.fallback:
        progress.warn(f"gradients come from autograd, which is slower: {trainer.fallback}")
    if auto_batch:
        accumulate = trainer.shrink_micro_batches()
        if accumulate > settings.accumulate:
            progress.note(f"a step is split into {accumulate} micro-batches to fit in memory")
    environment = {
        "device": target.type,
        "threads": torch.get_num_threads(),
        "engine": trainer.engine,
        "processes": world.size,
        "pieces": trainer.micro_batches,  # the name that older versions read
        "versions": versions(),
    }
    identity = made_from(recipe, tokens)
    if world.is_first:
        out.mkdir(parents=True, exist_ok=True)
        checkpoint.remove_unfinished(out)
    if settings.start and not list_checkpoints(out):
        trainer.load_weights(Path(settings.start))
    clock = _open_clock(trainer, out, seconds)
    trained, losses = resume(trainer, out, identity, environment, progress)
    # Losses and gradient norms since the last line of the metrics.
    window = [torch.tensor([loss, 0.0], device=target) for loss in losses]
    logged = [line["loss"] for line in read_metrics(out) if "loss" in line and line["step"] <= trainer.done]
    lowest = min(logged, default=float("inf"))
    started = begun - trained
    planned = _planned_steps(trainer, clock, trained)
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
        tensors = trainer.state_tensors()
        keep, before_decay = settings.keep_checkpoints, trainer.schedule.decay_step
        checkpoint.write(out, trainer.done, trainer.model, tensors, state, keep, before_decay)

    metrics = open_metrics(out, trainer.done, track, identity) if world.is_first else nullcontext()
    with (
        signals.deferred() as stop,
        metrics as log,
        progress.task("training", planned * per_step, "tokens", trainer.done * per_step) as task,
    ):
        schedule = trainer.schedule

        def record(**figures: float) -> None:
            if log:
                log.record(trainer.done, trainer.done * per_step, **figures)

        def due(every: int) -> bool:
            return trainer.done % every == 0 or trainer.done == schedule.end

        for name, tracker in zip(track, log.trackers if log else (), strict=False):
            progress.note(f"{name}: the figures are in {tracker.where}")
        since, counted, valid = time.monotonic(), trainer.done, ""
        if not settings.steps and world.is_first and not list_checkpoints(out):
            save()  # the weights that training would start from
        while schedule.end is None or trainer.done < schedule.end:
            window.append(torch.stack(trainer.step()))
            # A GPU runs ahead of this loop; reading a figure waits for it.
            reads = target.type != "cuda" or due(settings.log_every)
            if reads:
                _check_finite(window, trainer.done, out)
            if due(settings.log_every):
                mean, norm = torch.stack(window)[:, 0].mean().item(), window[-1][1].item()
                if settings.max_loss_rise and mean > lowest + settings.max_loss_rise:
                    raise TrainingDiverged(
                        f"step {trainer.done}: the loss jumped to {mean:.4f} from {lowest:.4f}, gradient "
                        f"norm {norm:.4g}; {_advice(out)} (training.max_loss_rise is the limit)"
                    )
                lowest, now = min(lowest, mean), time.monotonic()
                record(
                    loss=round(mean, 5),
                    gradient_norm=round(norm, 4),
                    rate=round(schedule.share(trainer.done - 1), 5),
                    tokens_per_second=round((trainer.done - counted) * per_step / (now - since)),
                    seconds=round(now - started, 2),
                )
                window.clear()
                since, counted = now, trainer.done
                task.advance(0, f"loss {mean:.3f}{valid}")
            task.advance(per_step)
            if due(settings.validate_every) and validation and world.is_first:
                with devices.memory_errors(
                    "Validation needs this memory in addition to a step's: raise training.accumulate"
                ):
                    value = packed_loss(trainer.logits, validation, settings.validate_blocks).loss
                record(
                    valid_loss=round(value, 5), valid_bits_per_byte=round(held_out.bits_per_byte(value), 5)
                )
                valid = f", held-out {value:.3f}"
                since, counted = time.monotonic(), trainer.done
            # Several processes have to agree on whether one of them was asked to stop.
            stopped_by = world.highest(stop.signal) if world.size == 1 or reads else 0
            before_decay = trainer.done == schedule.decay_step
            if clock and reads and trainer.done != schedule.end:
                decision = _decide(clock, trainer.done, time.monotonic() - started, world)
                if decision:
                    before_decay = trainer.done == schedule.decay_step
                    task.expect(decision.end * per_step)
            if (due(settings.checkpoint_every) or before_decay or stopped_by) and world.is_first:
                save()
            if stopped_by:
                world.highest(0)  # no process exits before the first one has saved
                raise Interrupted(
                    f"stopped by {Signals(stopped_by).name} at step {trainer.done} of "
                    f"{schedule.end or planned}; a checkpoint is saved in {out}: "
                    "run the same command to resume",
                    128 + stopped_by,
                )
    world.highest(0)  # wait for the last checkpoint
    if world.is_first and (sign := overfitting(read_metrics(out))):
        progress.warn(f"training: {sign}")
    return newest_checkpoint(out)


def _open_clock(trainer: Trainer, out: Path, seconds: float | None) -> Clock | None:
    """Let the clock decide if there is a limited time, or there was when this training began."""
    world, file = trainer.world, out / CLOCK
    exists = file.is_file()
    if not world.highest(world.is_first and (exists or seconds is not None)):
        return None
    trainer.schedule = Schedule(trainer.recipe, timed=True)
    if world.is_first and not exists:
        Clock(seconds or 0.0, trainer.schedule, file).save()
    world.highest(0)  # the others read what the first one has written
    clock = Clock.reopen(file, trainer.schedule)
    clock.file = file if world.is_first else None
    return clock


def _planned_steps(trainer: Trainer, clock: Clock | None, trained: float) -> int:
    """Return how many steps training will have taken at its end, as far as anybody knows."""
    if clock and trained and not trainer.schedule.end:
        return round(trainer.done * clock.seconds / trained)
    return trainer.schedule.end or trainer.recipe.steps


def _decide(clock: Clock, done: int, elapsed: float, world: World) -> Decay | None:
    """Let the first process decide, and all of them follow."""
    decision = clock.decide(done, elapsed) if world.is_first else None
    end = world.highest(decision.end if decision else 0)
    if end and not world.is_first:
        decision = Decay(done, end)
        clock.take(decision)
    return decision


def _check_finite(window: list[torch.Tensor], done: int, out: Path) -> None:
    """Stop at the first gradient of the window that is not finite."""
    figures = torch.stack(window).tolist() if window else []
    for step, (loss, norm) in enumerate(figures, done - len(figures) + 1):
        if not norm < float("inf"):  # also true of NaN
            raise TrainingDiverged(f"step {step}: loss {loss:.4f}, gradient norm {norm}; {_advice(out)}")


def _advice(out: Path) -> str:
    checkpoints = list_checkpoints(out)
    last = f"the last good checkpoint is {checkpoints[-1]}" if checkpoints else "there is no checkpoint yet"
    return (
        f"{last}. Lower optimizer.learning_rate or raise training.warmup, in another folder or with --update"
    )
