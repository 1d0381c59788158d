"""``aurelius corpus inspect`` and ``aurelius tokenizer inspect``."""

import argparse
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.errors import RecipeError, RunError


def _add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, or its name in runs/")
    parser.add_argument("--side", default="train", help="train (the default), valid or dropped")
    parser.add_argument("--search", default="", metavar="WORDS", help="only stories that contain these words")
    parser.add_argument("--reason", default="", help="only stories dropped for this reason")
    parser.add_argument("--count", type=int, default=5, help="stories to show (default: 5)")
    parser.add_argument(
        "--from", type=int, default=0, dest="begin", metavar="N", help="skip the first N that match"
    )


def _inspect_corpus(options: argparse.Namespace) -> None:
    from aurelius.corpus.inspect import search
    from aurelius.run_paths import named_run

    side = "dropped" if options.reason else options.side
    first = options.begin
    if first < 0 or options.count < 1:
        raise RecipeError("--count must be at least 1 and --from at least 0")
    shown = 0
    matches = search(named_run(options.run) or Path(options.run), side, options.search, options.reason)
    for match in islice(matches, first, first + options.count):
        similarity = f", similarity {match.similarity:.3f}" if match.similarity else ""
        reason = f": {match.reason}{similarity}" if match.reason else ""
        print(f"--- {match.side} {match.number}{reason}\n{match.text}\n")
        shown += 1
    more = f"; for the next ones: --from {first + shown}" if shown == options.count else ", and no more"
    print(f"{shown} stories{more}")


def _add_tokenizer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", metavar="FILE_OR_TEXT", help="a file of stories, or a text")
    parser.add_argument(
        "--model", metavar="RUN", help="a run, model folder or tokenizer.json (default: the newest run)"
    )
    parser.add_argument(
        "--column", default="text", help="column or key of the file with the text (default: text)"
    )
    common.add_reading_options(parser)
    common.add_json_option(parser)


def _inspect_tokenizer(options: argparse.Namespace) -> None:
    from rich.console import Console

    from aurelius.cli.tables import inspection_table
    from aurelius.corpus.readers.sources import open_path
    from aurelius.run_paths import named_run
    from aurelius.tokenizer.inspect import inspect

    model = (named_run(options.model) or Path(options.model)) if options.model else _newest_run()
    file = Path(options.text)
    is_file = len(options.text) < 256 and file.is_file()
    inspection = inspect(
        model, open_path(file, common.read_options(options)).stories if is_file else [options.text]
    )
    if options.json:
        common.print_json(
            {"model": str(model), "bytes_per_token": inspection.bytes_per_token, **asdict(inspection)}
        )
        return
    for part in inspection_table(inspection, str(model)):
        Console().print(part)


def _newest_run() -> Path:
    files = sorted(Path("runs").glob("*/tokenizer/tokenizer.json"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise RunError("no run in runs/ has a tokenizer yet; name a model with --model")
    return files[-1].parents[1]


COMMANDS = (
    Command(
        "corpus inspect",
        "browse and search a run's stories, including dropped ones",
        _add_corpus_arguments,
        _inspect_corpus,
        "aurelius corpus inspect mine --search dragon\naurelius corpus inspect mine --side dropped",
    ),
    Command(
        "tokenizer inspect",
        "show how a text or a file of stories is split into tokens",
        _add_tokenizer_arguments,
        _inspect_tokenizer,
        'aurelius tokenizer inspect "Once upon a time"\naurelius tokenizer inspect stories.txt --model mine',
    ),
)
