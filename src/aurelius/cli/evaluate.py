"""``aurelius evaluate``: a run on its own held-out stories, or any model on a file, by any instrument."""

import argparse
import shlex
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.cli.run import bring_up_to_date
from aurelius.errors import RecipeError, RunError, suggest
from aurelius.evaluation.instruments import INSTRUMENTS
from aurelius.progress import Progress
from aurelius.run_paths import RunPaths, named_run

if TYPE_CHECKING:
    from aurelius.inference.language_model import InspectableModel

LIKELIHOOD = "likelihood"
MEASURES = (LIKELIHOOD, *INSTRUMENTS)
NEEDS_TRAINING = {"novelty", "gap"}  # measures that ask for the training stories
ONLY_WITH_FILE = ("column",)
ONLY_FOR_RUNS = (
    "out", "corpus", "minutes", "more_minutes", "set", "update", "verify", "fresh", "auto_batch", "track",
    "workers",
)  # fmt: skip
WIDTH = 33  # of the names
LONGEST = 8  # numbers of a list that are printed; --json gives all


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_run_options(
        parser, "a run folder or recipe; when measuring, also a Hugging Face folder or hf:owner/name"
    )
    parser.add_argument("--on", metavar="FILE", help="stories to measure on, taken from the file unchanged")
    parser.add_argument("--column", help="column or key of the file with the text (default: text)")
    parser.add_argument(
        "--measure",
        metavar="NAME",
        action="append",
        choices=MEASURES,
        default=[],
        help=f"{', '.join(MEASURES)}; repeatable (default: {LIKELIHOOD})",
    )
    parser.add_argument(
        "--trained-on",
        metavar="FILE",
        action="append",
        default=[],
        help="what the model was trained on, for novelty and gap; a run knows its own",
    )
    parser.add_argument(
        "--pairs", metavar="FOLDER", help="minimal pairs to measure: one .txt file per paradigm"
    )
    parser.add_argument(
        "--present",
        choices=("sentence", "as-is"),
        help="how pairs are read: sentence (default) writes 'The dog runs.' for 'the dog runs .'",
    )
    parser.add_argument("--lm-eval", metavar="FOLDER", help="also write the pairs as tasks of lm-eval")


def _act(options: argparse.Namespace) -> None:
    measures = [*options.measure, *(["pairs"] if options.pairs else [])]
    measuring = bool(measures) or options.on is not None
    if not options.pairs and (options.lm_eval or options.present):
        name = "--lm-eval" if options.lm_eval else "--present"
        raise RecipeError(f"{name} is about minimal pairs: add --pairs FOLDER, such as Zorro's")
    if options.trained_on and not NEEDS_TRAINING.intersection(measures):
        raise RecipeError("--trained-on is for --measure novelty or gap, and has no effect without them")
    for name in ONLY_FOR_RUNS if measuring else ONLY_WITH_FILE:
        if getattr(options, name):
            what = "with --on, --measure or --pairs" if measuring else "without --on FILE"
            raise RecipeError(f"--{name.replace('_', '-')} has no effect {what}")
    if not measuring:
        bring_up_to_date(options, "evaluation")
        return
    if "pairs" in measures and not options.pairs:
        raise RecipeError("minimal pairs are not part of Aurelius; add --pairs FOLDER, such as Zorro's")
    if not measures or (options.on is not None and not options.measure):
        measures = [LIKELIHOOD, *measures]
    if options.on is not None and set(measures) == {"pairs"}:
        raise RecipeError("--on has no effect on minimal pairs; leave out --measure pairs to measure both")
    _measure(options, list(dict.fromkeys(measures)))


def _measure(options: argparse.Namespace, measures: list[str]) -> None:
    from aurelius.evaluation.instruments import Subject, examine
    from aurelius.evaluation.pairs import read_paradigms
    from aurelius.inference.open_model import open_model

    progress = common.reporter(options)
    run = named_run(options.recipe)
    folder = RunPaths(run).huggingface if run else Path(options.recipe)
    if options.lm_eval and run and not (folder / "config.json").is_file():
        raise RunError(f"lm-eval needs the exported model: {suggest('run', options.recipe)} exports it")
    trained_on = _trained_on(options, run)
    if NEEDS_TRAINING.intersection(measures) and trained_on is None:
        raise RecipeError(
            f"{options.recipe} was not trained here, so say what it was trained on: add --trained-on FILE"
        )
    paradigms = read_paradigms(Path(options.pairs)) if options.pairs else []
    read_as, documents = "", []
    if measures != ["pairs"]:
        read_as, documents = _documents(options, run, progress)
    model = open_model(options.recipe, options.device)
    figures: dict[str, Any] = {"model": model.name, "parameters": model.parameters}
    if documents:
        figures |= {"on": options.on or "the run's own held-out stories", "read_as": read_as}
    if LIKELIHOOD in measures:
        figures |= _likelihood(model, documents, progress)
    style = options.present or "sentence"
    subject = Subject(model, documents, trained_on, paradigms, style, progress=progress)
    figures |= examine(subject, [name for name in measures if name != LIKELIHOOD])
    if options.json:
        common.print_json(figures)
    else:
        _print(figures)
    if options.lm_eval:
        from aurelius.evaluation.lm_eval_tasks import write_tasks

        group = Path(options.pairs).resolve().name
        arguments = write_tasks(model, folder, paradigms, style, group, Path(options.lm_eval))
        progress.note(f"wrote {len(paradigms)} tasks into {options.lm_eval}: {shlex.join(arguments)}")


def _documents(options: argparse.Namespace, run: Path | None, progress: Progress) -> tuple[str, list[str]]:
    """Return the stories to measure on, and what they were read as."""
    if options.on is None:
        if run is None:
            raise RecipeError(f"{options.recipe} is not a run, so say what to measure on: add --on FILE")
        from aurelius.data.stories import read_stories

        return "parquet", read_stories(RunPaths(run).corpus, "valid")
    from aurelius.corpus.readers.sources import open_path

    source = open_path(Path(options.on), common.read_options(options))
    documents = [text for text in source.stories if text]
    words = int(median(len(text.split()) for text in documents)) if documents else 0
    progress.note(f"read {options.on} as {source.format}: {len(documents):,} documents, median {words} words")
    return source.format, documents


def _trained_on(options: argparse.Namespace, run: Path | None) -> Callable[[], Iterable[str]] | None:
    """Return what reads the stories that the model was trained on, if they are known."""
    if options.trained_on:
        from aurelius.corpus.readers.sources import open_path

        paths, how = [Path(name) for name in options.trained_on], common.read_options(options)
        return lambda: chain.from_iterable(open_path(path, how).stories for path in paths)
    from aurelius.config.recipe import Recipe

    if run is None or not Recipe.load(run).training.steps:  # an imported model was trained elsewhere
        return None
    from aurelius.data.stories import StoryFile

    return lambda: StoryFile(RunPaths(run).corpus, "train")


def _likelihood(model: "InspectableModel", documents: list[str], progress: Progress) -> dict[str, Any]:
    from aurelius.evaluation.likelihood import measure
    from aurelius.evaluation.packed import measure_packed

    figures = measure(model, documents, progress).as_json()
    if packed := measure_packed(model, documents, progress):
        figures |= {f"packed_{name}": value for name, value in packed.as_json().items()}
    return figures


def _print(figures: dict[str, Any], indent: str = "") -> None:
    for name, value in figures.items():
        label = f"{indent}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            if value.keys() == {"share", "low", "high", "of"}:
                value = f"{value['share']:.4f} [{value['low']:.4f}, {value['high']:.4f}] of {value['of']:,}"
            else:
                print(label)
                _print(value, indent + "  ")
                continue
        if isinstance(value, list):
            if len(value) > LONGEST or any(isinstance(each, list) for each in value):
                continue
            value = " ".join(f"{each:g}" for each in value)
        shown = f"{value:,}" if isinstance(value, int) else value
        shown = f"{value:.4f}" if isinstance(value, float) else shown
        print(f"{label:<{WIDTH}} {shown}")


EXAMPLES = """\
aurelius evaluate mine                                 on its own held-out stories
aurelius evaluate mine --on held-out.txt               on the stories of a file
aurelius evaluate path/to/model --on held-out.txt      any causal language model, to compare
aurelius evaluate mine --measure coherence             what else there is to know about it
aurelius evaluate mine --pairs zorro                   minimal pairs: a wrong and a right sentence each"""
COMMANDS = (
    Command(
        "evaluate", "measure a run, or any causal language model on a file", _add_arguments, _act, EXAMPLES
    ),
)
