"""One trial of a study: train an arm with one seed, then score it. Runs in a process of its own."""

import gc
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurelius.errors import AureliusError
from aurelius.run_paths import RunPaths
from aurelius.studies.definition import Study, Trial
from aurelius.studies.results import Record

if TYPE_CHECKING:  # opens PyTorch
    from aurelius.inference.language_model import InspectableModel


@dataclass(frozen=True)
class Work:
    """A trial to do: its run folder, the documents to score, the study, and the device."""

    trial: Trial
    folder: Path
    documents: list[str]
    study: Study
    device: str


def do(work: Work) -> Record:
    """Train a trial, or resume it from its last checkpoint, and score the model.

    Raises:
        AureliusError: as `aurelius.run` and `aurelius.measure`.
    """
    import torch

    from aurelius import device as devices
    from aurelius.evaluation.likelihood import score
    from aurelius.inference.run_model import RunModel
    from aurelius.model.checkpoint_folder import newest_checkpoint, read_state
    from aurelius.pipeline.run import run
    from aurelius.progress import SILENT

    # A process does one trial after another: what the last one compiled or kept on a GPU is in the way.
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    folder = run(
        work.trial.recipe, work.folder, until="training", update=True, device=work.device, progress=SILENT
    )
    model = RunModel(work.folder, work.device)
    scores = score(model, work.documents)
    figures = scores.likelihood()
    state = read_state(newest_checkpoint(folder.training))
    nats = scores.total if work.study.measure == "bits_per_byte" else scores.text
    return Record(
        arm=work.trial.arm.name,
        seed=work.trial.seed,
        changes=work.trial.changes,
        parameters=folder.recipe.parameters,
        steps=state["step"],
        tokens=state["tokens"],
        seconds=round(state["seconds"], 1),
        bits_per_byte=round(figures.bits_per_byte, 5),
        bits_per_byte_text=round(figures.bits_per_byte_text, 5),
        bytes_per_token=round(figures.bytes / figures.tokens, 4),
        device=devices.name_of(devices.pick(work.device)),
        threads=state["threads"],
        versions=state["versions"],
        nats=[round(float(value), 1) for value in nats],
        figures=_figures(work, model),
    )


def _figures(work: Work, model: "InspectableModel") -> dict[str, float | None]:
    """Return the figures that the study asks the instruments for; None for what they did not find."""
    from aurelius.data.stories import StoryFile
    from aurelius.evaluation.instruments import Subject, examine
    from aurelius.evaluation.pairs import read_paradigms

    study = work.study
    paradigms = read_paradigms(Path(study.pairs)) if study.pairs else []
    corpus = RunPaths(work.folder).corpus
    subject = Subject(model, work.documents, lambda: StoryFile(corpus, "train"), paradigms)
    found = examine(subject, study.instruments)
    return {figure: _look_up(found, figure.split(".")) for figure in study.figures}


def _look_up(found: Any, keys: list[str]) -> float | None:
    """Return the number that a path of keys leads to; a list is indexed, also from its end."""
    for key in keys:
        try:
            found = found[int(key) if isinstance(found, list) else key]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return float(found) if isinstance(found, int | float) else None


def serve(pipe: Connection, threads: int) -> None:
    """Do every work that comes through ``pipe`` with ``threads`` threads; send back records and errors.

    Ends when the other side closes the pipe. If the process at the other side is gone, training ends with a
    checkpoint.
    """
    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        while True:
            work = pipe.recv()
            try:
                outcome = do(work)
            except AureliusError as error:
                outcome = error
            pipe.send(outcome)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _follow_parent() -> None:
    if parent := parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
