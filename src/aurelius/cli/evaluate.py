"""``aurelius evaluate``: a run on its own held-out stories, or any model on a file."""

import argparse
from pathlib import Path
from statistics import median

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.cli.run import bring_up_to_date
from aurelius.errors import RecipeError

ONLY_WITH_FILE = ("column",)
ONLY_FOR_RUNS = (
    "out", "corpus", "minutes", "more_minutes", "set", "update", "verify", "fresh", "auto_batch", "track",
    "workers",
)  # fmt: skip


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_run_options(
        parser, "a run folder or recipe; with --on also a Hugging Face folder or hf:owner/name"
    )
    parser.add_argument("--on", metavar="FILE", help="stories to measure on, taken from the file unchanged")
    parser.add_argument("--column", help="column or key of the file with the text (default: text)")


def _act(options: argparse.Namespace) -> None:
    for name in ONLY_WITH_FILE if options.on is None else ONLY_FOR_RUNS:
        if getattr(options, name):
            preposition = "without" if options.on is None else "with"
            raise RecipeError(f"--{name.replace('_', '-')} has no effect {preposition} --on FILE")
    if options.on is None:
        bring_up_to_date(options, "evaluation")
        return
    from aurelius.corpus.readers.sources import open_path
    from aurelius.evaluation.likelihood import measure
    from aurelius.evaluation.packed import measure_packed
    from aurelius.inference.open_model import open_model

    source = open_path(Path(options.on), common.read_options(options))
    documents = [text for text in source.stories if text]
    progress = common.reporter(options)
    words = int(median(len(text.split()) for text in documents)) if documents else 0
    progress.note(f"read {options.on} as {source.format}: {len(documents):,} documents, median {words} words")
    model = open_model(options.recipe, options.device)
    figures = {
        "model": model.name,
        "on": options.on,
        "read_as": source.format,
        "parameters": model.parameters,
    }
    figures |= measure(model, documents, progress).as_json()
    if packed := measure_packed(model, documents, progress):
        figures |= {f"packed_{name}": value for name, value in packed.as_json().items()}
    if options.json:
        common.print_json(figures)
        return
    for name, value in figures.items():
        shown = f"{value:,}" if isinstance(value, int) else value
        shown = f"{value:.4f}" if isinstance(value, float) else shown
        print(f"{name.replace('_', ' '):34}{shown}")


EXAMPLES = """\
aurelius evaluate mine                                 on its own held-out stories
aurelius evaluate mine --on held-out.txt               on the stories of a file
aurelius evaluate path/to/model --on held-out.txt      any causal language model, to compare"""
COMMANDS = (
    Command(
        "evaluate", "measure a run, or any causal language model on a file", _add_arguments, _act, EXAMPLES
    ),
)
