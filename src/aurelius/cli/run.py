"""``aurelius run``: everything that is not done yet, from the corpus to the export."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.errors import suggest
from aurelius.files import read_json
from aurelius.run_paths import AUTO

if TYPE_CHECKING:
    from aurelius.pipeline.run_folder import RunFolder


def bring_up_to_date(options: argparse.Namespace, until: str) -> Path:
    """Do the stages up to ``until``, say what was done, and return the run folder."""
    from aurelius.pipeline.run import run
    from aurelius.progress_bar import duration

    started = time.monotonic()
    to = [name.strip() for name in getattr(options, "to", "").split(",") if name]
    result = run(**common.run_options(options), until=until, to=to, progress=common.reporter(options))
    more = _after_run(result.folder, options) if options.command == "run" else []
    seconds = time.monotonic() - started
    if options.json:
        if not getattr(options, "check", False):  # which prints the whole result
            common.print_json(_summary(result, seconds, until))
        return result.folder
    taken = duration(seconds)
    if not result.done:
        print(f"nothing to do: {result.folder} is up to date ({taken})")
    if until in ("export", "evaluation"):
        _print_summary(result.folder, until == "export", more)
    elif result.done:
        print(f"{result.folder / until} is done ({taken})")
    return result.folder


def _summary(result: "RunFolder", seconds: float, until: str) -> dict[str, Any]:
    """Return what was done, and the newest figures, for programs."""
    summary = {"run": str(result.folder), "done": result.done, "seconds": round(seconds, 1)}
    if until == "corpus":
        summary["report"] = read_json(result.corpus_report)
    elif until == "training":
        summary["latest"] = {key: value for line in result.metrics for key, value in line.items()}
    elif until in ("export", "evaluation"):
        summary["report"] = result.report
    return summary


def _after_run(run: Path, options: argparse.Namespace) -> list[tuple[str, str]]:
    """Let commands that want to add something to every run do so; return lines for the summary."""
    from aurelius.cli.registry import commands

    device, progress = getattr(options, "device", "auto"), common.reporter(options)
    return [each.after_run(run, device, progress) for each in commands() if each.after_run]


def _print_summary(folder: Path, exported: bool, more: list[tuple[str, str]]) -> None:
    from aurelius.pipeline.outlook import outlook
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
    for heading, text in more:
        print(f"{heading:16}{text}")
    if exported:
        print(f"model           {run.huggingface}")
    ahead = outlook(run)
    if ahead.writes:
        print(f"it writes       {ahead.writes}")
    gain = f"twice as long: about {ahead.gain:.3f} bits per byte less; " if ahead.gain else ""
    print(f"more time       {gain}{ahead.command}")
    print(f"another story   {suggest('generate', folder, 'Once upon a time')}")
    if exported:
        print(f"in the browser  {suggest('open', folder)}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    what = f"{common.RUN_OR_RECIPE} (default: {AUTO}, sized for --minutes, this machine and the corpus)"
    common.add_run_options(parser, what, AUTO)


def _act(options: argparse.Namespace) -> None:
    bring_up_to_date(options, "export")


EXAMPLES = """\
aurelius run --minutes 15 --corpus stories.txt               a model sized for 15 minutes on this machine
aurelius run nano                                            the default recipe and corpus
aurelius run nano --corpus stories.txt --minutes 15 --out runs/mine
aurelius run mine                                            resume, or see that nothing is to do
aurelius run mine --more-minutes 30                          continue it for half an hour
aurelius run mine --set training.steps=4000 --update         train it longer"""
COMMANDS = (
    Command(
        "run",
        "do every stage that is not done; resume what was stopped",
        _add_arguments,
        _act,
        EXAMPLES,
    ),
)
