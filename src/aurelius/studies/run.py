"""Do a study: what its trials share first, then the trials, several at once; every result is kept at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aurelius.errors import RunError
from aurelius.pipeline.run import run
from aurelius.progress import SILENT, Progress
from aurelius.progress_bar import if_watched
from aurelius.run_paths import RunPaths
from aurelius.studies.definition import HELD_OUT, Study, Trial, trials_of
from aurelius.studies.engines import open_engine, usual_jobs
from aurelius.studies.report import write_report
from aurelius.studies.results import Documents, Record, Results
from aurelius.studies.worker import Work
from aurelius.training.metrics import read_metrics


def run_study(
    path: "str | Path",
    out: "str | Path | None" = None,
    *,
    changes: Mapping[str, Any] | None = None,
    documents: str | None = None,
    jobs: int | None = None,
    engine: str = "local",
    device: str = "auto",
    workers: int = 1,
    progress: Progress | None = None,
) -> Results:
    """Do the trials of a study that are not done, and write results, report and figure next to its file.

    A trial that was stopped goes on from its last checkpoint. Corpus, tokenizer and tokens are made once for
    all trials whose recipes agree on them. The calling script needs a ``__main__`` guard.

    Args:
        path: the study's TOML file; the results have the same name, and end in .json, .md and .svg.
        out: folder of the run folders; ``runs/<name of the file>`` by default.
        changes: values of the recipe in every arm, by dotted key, in addition to the study's own.
        documents: measure on this file instead of what the study says.
        jobs: trials at once; by default one per core, or several on a GPU.
        engine: where the trials run: local, in processes of this machine, or ray.
        device: auto, cpu, cuda or mps.
        workers: processes that clean the corpus.
        progress: reports the trials; by default a bar on standard error, if that is a terminal or notebook.

    Raises:
        CompareError: the study is refused, or its results were measured on other documents.
        RunError: a trial failed; the others are done and kept.
        AureliusError: as `aurelius.run`.
    """
    path, progress = Path(path), progress or if_watched()
    out = Path(out) if out is not None else Path("runs") / path.stem
    study = Study.load(path)
    if documents:
        study = study.model_copy(update={"documents": documents})
    do_all, jobs = open_engine(engine), jobs or usual_jobs(device)
    trials = trials_of(study, path.parent, changes)
    file = path.with_suffix(".json")
    results = Results.load(file, study) if file.exists() else Results(study)
    missing = [trial for trial in trials if not results.has(trial)]
    failures = []
    if missing:
        # Mistakes in what is measured on should show before anything is trained.
        if study.pairs:
            from aurelius.evaluation.pairs import read_paradigms

            read_paradigms(Path(study.pairs))
        texts = [] if study.documents == HELD_OUT else _texts(study)
        progress.note(f"{len(missing)} of {len(trials)} trainings to do in {out}, {jobs} at once")
        _prepare(missing, out, workers, progress)
        texts = texts or _held_out(study, out / missing[0].folder)
        results.measure_on(Documents.of(Path(study.documents).name, texts), file)
        works = [Work(trial, out / trial.folder, texts, study, device) for trial in missing]
        with _shown(works, progress) as look:
            for work, outcome in do_all(works, jobs, look):
                name = f"{work.trial.arm.name}, seed {work.trial.seed}"
                if isinstance(outcome, Record):
                    results.add(outcome)
                    results.write(file)
                    progress.note(f"{name}: {results.figure(outcome):.4f} bits per byte")
                else:
                    failures.append(f"{name}: {outcome}")
    if results.records:
        write_report(results, path)
    for figure in study.figures:
        if results.records and all(record.figures.get(figure) is None for record in results.records):
            progress.note(
                f"no training has the figure {figure}; evaluate --measure ... --json shows the keys"
            )
    if failures:
        raise RunError(f"{len(failures)} of {len(trials)} trainings failed. {'. '.join(failures)}")
    return results


def render(path: "str | Path") -> Results:
    """Write report and figure of a study from its saved results again.

    Raises:
        CompareError: there are none, or the file is damaged.
    """
    path = Path(path)
    file = path.with_suffix(".json")
    results = Results.load(file, Study.load(path) if path.suffix == ".toml" and path.exists() else None)
    write_report(results, path)
    return results


def _prepare(trials: Sequence[Trial], out: Path, workers: int, progress: Progress) -> None:
    """Make corpus, tokenizer and tokens of every trial, shared between those that agree on them."""

    def prepare(trial: Trial, progress: Progress) -> None:
        where = out / trial.folder
        run(trial.recipe, where, until="tokens", update=True, workers=workers, progress=progress)

    prepare(trials[0], progress)  # reads the corpus, which takes longest and is worth showing
    with progress.task("preparing", len(trials), "trainings", 1) as task:
        for trial in trials[1:]:
            prepare(trial, SILENT)
            task.advance(info=trial.folder)


def _texts(study: Study) -> list[str]:
    """Return the documents of the file that a study measures on."""
    from aurelius.corpus.readers.sources import open_path

    texts = [text for text in open_path(Path(study.documents)).stories if text]
    return texts[: study.stories or None]


def _held_out(study: Study, run_folder: Path) -> list[str]:
    """Return the held-out stories of the corpus that a study's runs share."""
    from aurelius.data.stories import StoryFile

    return list(StoryFile(RunPaths(run_folder).corpus, "valid", study.stories or None))


@contextmanager
def _shown(works: Sequence[Work], progress: Progress) -> Iterator[Callable[[], None]]:
    """Show how many tokens all trials have trained on; yield what brings the number up to date."""
    recipes = [work.trial.recipe for work in works]
    steps = [recipe.training.steps for recipe in recipes]
    planned = sum(recipe.tokens_per_step * n for recipe, n in zip(recipes, steps, strict=True))
    shown = _trained(works)
    with progress.task("study", planned if all(steps) else None, "tokens", shown) as task:

        def look() -> None:
            nonlocal shown
            now = _trained(works)
            task.advance(max(0, now - shown))
            shown = max(shown, now)

        yield look


def _trained(works: Sequence[Work]) -> int:
    """Return the tokens that the trials have trained on."""
    lines = (read_metrics(RunPaths(work.folder).training) for work in works)
    return sum(figures[-1]["tokens"] for figures in lines if figures)
