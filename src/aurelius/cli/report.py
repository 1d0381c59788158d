"""``aurelius report``: everything that is known about a run's model, as one HTML file."""

import argparse
from pathlib import Path

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.progress import Progress


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, or its name in runs/")
    parser.add_argument(
        "--full", action="store_true", help="measure as much as a table of results needs; takes minutes"
    )
    parser.add_argument(
        "--pairs", metavar="FOLDER", help="minimal pairs to measure: one .txt file per paradigm"
    )
    common.add_device_option(parser)


def _act(options: argparse.Namespace) -> None:
    from aurelius.reporting.report import report

    pairs = Path(options.pairs) if options.pairs else None
    print(
        report(
            options.run,
            full=options.full,
            pairs=pairs,
            device=options.device,
            progress=common.reporter(options),
        )
    )


def after_run(run: Path, device: str, progress: Progress) -> tuple[str, str]:
    """Bring the report up to date at the end of a run; return a line about it."""
    from aurelius.reporting.report import report

    return "report", str(report(run, device=device, again=False, progress=progress))


EXAMPLES = """\
aurelius report mine                       write the report again, and measure what is missing
aurelius report mine --full                with figures for a table of results
aurelius report mine --pairs zorro         with minimal pairs"""
COMMANDS = (
    Command(
        "report",
        "write a run's report: stories, quality, copying, internals",
        _add_arguments,
        _act,
        EXAMPLES,
        after_run,
    ),
)
