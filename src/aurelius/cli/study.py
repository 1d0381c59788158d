"""``aurelius study``: a grid of trainings that answers a question."""

import argparse
import os
import sys
from pathlib import Path

from aurelius.cli import options as common
from aurelius.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="FILE", help="the study, a TOML file")
    parser.add_argument("--out", metavar="FOLDER", help="folder of the runs (default: runs/NAME of the file)")
    parser.add_argument(
        "--on", metavar="FILE", help="measure on these stories instead of the study's documents"
    )
    common.add_set_option(parser)
    parser.add_argument("--jobs", type=int, metavar="N", help="trainings at once (default: one per core)")
    parser.add_argument("--engine", default="local", help="local (the default) or ray: where they run")
    parser.add_argument(
        "--render", action="store_true", help="train nothing; write report and figure from the saved results"
    )
    common.add_json_option(parser)
    common.add_corpus_options(parser.add_argument_group("corpus"))
    common.add_device_option(parser)


def _act(options: argparse.Namespace) -> None:
    from rich.console import Console

    from aurelius.cli.tables import study_table
    from aurelius.errors import CompareError
    from aurelius.studies.report import as_json
    from aurelius.studies.run import render, run_study

    if options.jobs is not None and options.jobs < 1:
        raise CompareError(f"--jobs is {options.jobs}; at least one training has to run at a time")
    if options.render:
        results = render(options.study)
    else:
        results = run_study(
            options.study,
            options.out,
            changes=common.overrides(options),
            documents=options.on,
            jobs=options.jobs,
            engine=options.engine,
            device=options.device,
            workers=os.cpu_count() or 1,
            progress=common.reporter(options),
        )
    if options.json:
        common.print_json(as_json(results))
        return
    Console(width=None if sys.stdout.isatty() else 170).print(study_table(results))
    print(f"report   {Path(options.study).with_suffix('.md')}")


EXAMPLES = """\
aurelius study studies/attention.toml --corpus stories.txt
aurelius study studies/attention.toml --render          tables and figures from the saved results"""
COMMANDS = (
    Command(
        "study",
        "train every arm of a study with every seed, and compare them",
        _add_arguments,
        _act,
        EXAMPLES,
    ),
)
