"""The report of a run: everything that is known about its model, in one HTML file.

It is a stage like others, in a folder of its own with a manifest; ``report.json`` keeps what the instruments
found, so that the page can be written again without measuring again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aurelius.config.recipe import Recipe
from aurelius.data.stories import StoryFile, read_stories
from aurelius.errors import AureliusError, CorpusError, ModelError, RunError, suggest
from aurelius.evaluation.instruments import INSTRUMENTS, Subject
from aurelius.evaluation.pairs import Paradigm, read_paradigms
from aurelius.evaluation.surprise import surprise
from aurelius.files import read_json, write_bytes, write_json
from aurelius.inference.run_model import RunModel
from aurelius.pipeline.execute import do, is_done
from aurelius.pipeline.manifest import Manifest
from aurelius.pipeline.run import locked
from aurelius.pipeline.run_folder import find_run
from aurelius.pipeline.stages import Job, Stage
from aurelius.progress import SILENT, Progress
from aurelius.run_paths import RunPaths

FIGURES, PAGE = "report.json", "report.html"
BUILDS_ON = ("corpus", "tokenizer", "training", "evaluation")
ON_PAGE = ("pairs", "coherence", "novelty", "bottleneck", "sinks")  # the instruments that are reported
HELD_OUT = 1000  # stories that the instruments choose from
TOLD = 2  # held-out stories that are shown with the model's surprise


@dataclass(frozen=True)
class _Work:
    """The stage's work, and what is to be measured."""

    full: bool = False
    pairs: Path | None = None
    paradigms: Sequence[Paradigm] = field(default=())

    def __call__(self, job: Job) -> None:
        before = _found_before(job)
        found = before | _measure(job, self, before)
        write_json(job.out / FIGURES, {"made_from": _made_from(job.run), "found": found})
        from aurelius.reporting.report_page import page

        write_bytes(job.out / PAGE, page(job.run, found).encode())


def report(
    run: str | Path,
    *,
    full: bool = False,
    pairs: Path | None = None,
    device: str = "auto",
    again: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Write the report of an evaluated run, and return the page.

    Args:
        run: the run folder, or its name in ``runs/``.
        full: measure as much as a table of results needs, which takes minutes.
        pairs: a folder with minimal pairs to measure.
        device: auto, cpu, cuda or mps.
        again: write the page even if it is up to date.
        progress: reports the work.

    Raises:
        RunError: the run is not evaluated, or another process works in it.
        CorpusError: the minimal pairs cannot be read.
    """
    paths = RunPaths(find_run(run))
    if not paths.report_file.is_file():
        raise RunError(f"{run} is not evaluated yet, so there is nothing to report: {suggest('run', run)}")
    work = _Work(full, pairs, read_paradigms(pairs) if pairs else ())
    stage = Stage("report", (), BUILDS_ON, work, resumes=True, optional=True)
    recipe = Recipe.load(paths.folder)
    with locked(paths):
        done = is_done(stage, recipe, paths, update=True, verify=False, progress=SILENT)
        if again or not done:
            do(stage, Job(recipe, paths, paths.training, device, progress))
    return paths.folder / stage.folder / PAGE


def _made_from(run: RunPaths) -> str:
    """Return a hash of all that the instruments' findings depend on."""
    digest = hashlib.sha256()
    for name in BUILDS_ON:
        manifest = Manifest.read(run.folder / name)
        if manifest is None:
            raise RunError(f"{run.folder} is not finished: {suggest('run', run.folder)} does what is missing")
        digest.update(repr(sorted((file, each.sha256) for file, each in manifest.outputs.items())).encode())
    return digest.hexdigest()


def _found_before(job: Job) -> dict[str, Any]:
    """Return what an earlier report found about the same model and corpus."""
    try:
        earlier = read_json(job.out / FIGURES)
        return earlier["found"] if earlier["made_from"] == _made_from(job.run) else {}
    except (AureliusError, KeyError, TypeError):
        return {}


def _measure(job: Job, work: _Work, before: dict[str, Any]) -> dict[str, Any]:
    """Measure what is not known yet, or not in full."""
    wanted = [name for name in ON_PAGE if _is_due(name, work, before)]
    if not wanted and "surprise" in before:
        return {}
    model = RunModel(job.run.folder, job.device)
    held_out = read_stories(job.run.corpus, "valid")
    report = read_json(job.run.report_file)
    trained_here = report["trained"]["step"] > 0
    subject = Subject(
        model,
        held_out[:HELD_OUT],
        (lambda: StoryFile(job.run.corpus, "train")) if trained_here else None,
        work.paradigms,
        full=work.full,
        progress=job.progress,
    )
    found: dict[str, Any] = {}
    for name in wanted:
        try:
            figures = INSTRUMENTS[name](subject)
        except (CorpusError, ModelError) as error:
            figures = {"problem": str(error)}
        found[name] = {"full": work.full, **figures}
        if name == "pairs":
            found[name]["folder"] = str(work.pairs)
    samples = report["samples"]
    texts = [("told", each["prompt"], each["text"], each.get("ended", True)) for each in samples]
    texts += [("held out", "", text, True) for text in held_out[:TOLD]]
    found["surprise"] = [_shown(model, *each) for each in texts]
    return found


def _is_due(name: str, work: _Work, before: dict[str, Any]) -> bool:
    """Whether an instrument has not measured yet, or not in full, or other pairs."""
    if name == "pairs" and not work.paradigms:
        return False
    if name not in before or (work.full and not before[name]["full"]):
        return True
    return name == "pairs" and before[name]["folder"] != str(work.pairs)


def _shown(model: RunModel, origin: str, prompt: str, text: str, ended: bool) -> dict[str, Any]:
    """Return a story with the model's surprise at each word; ``given`` words were its prompt."""
    pieces = [[piece.text, round(piece.bits, 2)] for piece in surprise(model, text)]
    whole = "".join(str(piece) for piece, _ in pieces) == text.lstrip()
    return {"origin": origin, "ended": ended, "whole": whole, "given": len(prompt.split()), "pieces": pieces}
