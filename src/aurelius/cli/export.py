"""``aurelius export``: the model for stock runtimes, and whether they agree."""

import argparse
import sys
from dataclasses import asdict

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.cli.open import add_force_option
from aurelius.cli.run import bring_up_to_date
from aurelius.errors import ModelError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_run_options(parser)
    parser.add_argument(
        "--to",
        default="",
        metavar="TARGETS",
        help="comma-separated targets in addition to huggingface, such as onnx,gguf,page",
    )
    add_force_option(parser)
    parser.add_argument(
        "--check", action="store_true", help="compare the files in every installed runtime with the model"
    )


def _act(options: argparse.Namespace) -> None:
    from aurelius.pipeline.run import require_trained
    from aurelius.run_paths import RunPaths, named_run

    if options.force:
        options.set.append("export.large_page=true")
    if run := named_run(options.recipe):  # a recipe's name means the whole way
        require_trained(RunPaths(run))
    folder = bring_up_to_date(options, "export")
    if not options.check:
        return
    from rich.console import Console

    from aurelius.cli.tables import parity_table
    from aurelius.parity.check import check
    from aurelius.parity.compare import problems_of

    comparisons, skipped = check(folder, common.reporter(options))
    problems = problems_of(comparisons)
    if options.json:
        files = [asdict(row) | {"path": str(row.path)} for row in comparisons]
        common.print_json({"run": str(folder), "files": files, "skipped": list(skipped)})
    else:
        Console(width=None if sys.stdout.isatty() else 170).print(parity_table(comparisons))
        for reason in skipped:
            print(f"skipped: {reason}")
    if problems:
        raise ModelError(f"{len(problems)} out of tolerance: {'; '.join(problems)}")
    if not options.json:
        print(f"all {len(comparisons)} files within tolerance")


EXAMPLES = """\
aurelius export mine                            for transformers and what loads its folders
aurelius export mine --to onnx,gguf             for browsers and llama.cpp, too
aurelius export mine --to page                  one HTML file that tells stories
aurelius export mine --check                    do the installed runtimes agree with the model?"""
COMMANDS = (
    Command(
        "export",
        "write the model for stock runtimes, and check that they agree",
        _add_arguments,
        _act,
        EXAMPLES,
    ),
)
