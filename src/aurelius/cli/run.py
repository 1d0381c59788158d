"""``aurelius run``: everything that is not done yet, from the corpus to the export."""

import argparse
import time
from pathlib import Path

from aurelius.cli import options as common
from aurelius.cli.command import Command


def bring_up_to_date(options: argparse.Namespace, until: str) -> Path:
    """Do the stages up to ``until``, say what was done, and return the run folder."""
    from aurelius.cli.console import duration
    from aurelius.pipeline.run import run

    started = time.monotonic()
    to = [name.strip() for name in getattr(options, "to", "").split(",") if name]
    result = run(**common.run_options(options), until=until, to=to, progress=common.reporter())
    taken = duration(time.monotonic() - started)
    if not result.done:
        print(f"nothing to do: {result.folder} is up to date ({taken})")
    if until in ("export", "evaluation"):
        _print_summary(result.folder, exported=until == "export")
    elif result.done:
        print(f"{result.folder / until} is done ({taken})")
    return result.folder


def _print_summary(folder: Path, exported: bool) -> None:
    from aurelius.pipeline.run_folder import RunFolder

    run = RunFolder(folder)
    report = run.report
    figures = report["documentwise"]
    print(f"\n{report['samples'][0]['text']}\n")
    print(
        f"bits per byte   {figures['bits_per_byte']:.4f} ± {figures['standard_error']:.4f} on "
        f"{figures['documents']:,} held-out stories of this corpus"
    )
    print(f"parameters      {report['parameters']:,}, trained on {report['trained']['tokens']:,} tokens")
    print(f"run             {folder}")
    print(f"figures         {run.report_file}")
    if exported:
        print(f"model           {run.huggingface}")
    print(f'another story   aurelius generate {folder} "Once upon a time"')


def _act(options: argparse.Namespace) -> None:
    bring_up_to_date(options, "export")


COMMANDS = (
    Command("run", "do every stage that is not done; resumes what was stopped", common.add_run_options, _act),
)
