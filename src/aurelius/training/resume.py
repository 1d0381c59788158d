"""Resuming from the newest checkpoint that can be used."""

from pathlib import Path
from typing import Any

from aurelius.config.compatibility import deciding
from aurelius.config.recipe import SECTIONS, Recipe
from aurelius.errors import ModelError, RunError
from aurelius.files import sha256
from aurelius.model.checkpoint_folder import list_checkpoints, read_state
from aurelius.progress import Progress
from aurelius.training import checkpoint
from aurelius.training.engines import AUTOGRAD
from aurelius.training.trainer import Trainer

IN_WORDS = {"pieces": "micro-batches"}  # names in state.json


def made_from(recipe: Recipe, tokens: Path) -> dict[str, Any]:
    """Return what decides a training: model, training and optimizer settings, and the tokens."""
    return _comparable(
        {
            "model": recipe.model.model_dump(),
            "training": recipe.training.model_dump(),
            "optimizer": recipe.optimizer.model_dump(),
            "vocab_size": recipe.tokenizer.vocab_size,
            "tokens": {name: sha256(tokens / name) for name in ("train.bin", "train.documents.npy")},
        }
    )


def resume(
    trainer: Trainer, out: Path, identity: dict[str, Any], environment: dict[str, Any], progress: Progress
) -> tuple[float, list[float]]:
    """Restore the newest usable checkpoint of ``out``, if there is one.

    Returns:
        The seconds of training so far, and the losses since the last line of the metrics.

    Raises:
        RunError: the checkpoint is of another training, or the processes see different folders.
        ModelError: there are checkpoints, but all of them are damaged.
    """
    seconds, losses, broken = 0.0, [], None
    for path in reversed(list_checkpoints(out)):
        try:
            state = {"engine": AUTOGRAD, **read_state(path)}  # older ones do not name it
            recorded = _comparable(state["made_from"])
            if changed := [key for key in identity if recorded.get(key) != identity[key]]:
                raise RunError(
                    f"{path} is from another training (different {', '.join(changed)}); train in another "
                    f"folder, or move {out} away to start again"
                )
            trainer.restore(*checkpoint.read(path, state), state["step"])
        except ModelError as error:
            broken = error
            continue
        for key, now in environment.items():
            if state[key] != now:
                progress.warn(
                    f"the checkpoint was made with {IN_WORDS.get(key, key)} {_difference(state[key], now)}: "
                    "training resumes, but not bit for bit as it would have there"
                )
        seconds, losses = state["seconds"], state["pending_losses"]
        progress.note(f"training resumes from step {trainer.done}")
        break
    if broken and not trainer.done:
        raise ModelError(f"{broken}; no other checkpoint can be used: move {out} away to start again")
    if broken:
        progress.warn(f"{broken}; resuming from the newest usable one, step {trainer.done}")
    if trainer.world.highest(trainer.done) != trainer.done:
        raise RunError(f"the processes found different checkpoints in {out}; they must share one folder")
    if trainer.world.is_first:
        checkpoint.rename_damaged(out, trainer.done)
    return seconds, losses


def _comparable(identity: dict[str, Any]) -> dict[str, Any]:
    """Return what a training was made from, as today's version would have recorded it."""
    decided = deciding(identity, SECTIONS)
    if isinstance(training := decided.get("training"), dict):
        training.pop("start", None)  # the weights after some steps say more
        training.pop("minutes", None)  # a run may get more of them
    return decided


def _difference(then: Any, now: Any) -> str:
    if isinstance(then, dict):
        return ", ".join(f"{k} {then.get(k)} (now {now.get(k)})" for k in now if then.get(k) != now.get(k))
    return f"{then} (now {now})"
