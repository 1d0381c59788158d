"""The command line: parses, calls, prints. No logic lives here."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from aurelius.cli.parser import parse
from aurelius.errors import (
    AureliusError,
    ModelError,
    RecipeError,
    RunError,
    TokenizerError,
)
from aurelius.signals import terminable


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    It is 0, 2 for misuse, 1 for what the machine refuses, 130 after Ctrl-C, 143 after SIGTERM.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):  # a terminal may not know every character
            reconfigure(errors="replace")
    try:
        with terminable():
            ACTS[options.act](options)
        return 0
    except AureliusError as error:
        print(f"aurelius: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output went away; nothing more to say to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        from aurelius.pipeline.run import storage_error

        print(f"aurelius: {storage_error(error)}", file=sys.stderr)
        return 1
    except MemoryError:
        advice = "end other programs, or ask for less at once (--workers 1, fewer stories, a smaller model)"
        print(f"aurelius: out of memory; {advice}; finished stages are kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("aurelius: interrupted; the same command goes on where it can", file=sys.stderr)
        return 128 + (stop.args or (signal.SIGINT,))[0]


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    from aurelius.config.recipe import parse_override

    found = dict(parse_override(text) for text in options.set)
    if getattr(options, "corpus", None) is not None:
        found["corpus.source"] = options.corpus if len(options.corpus) > 1 else options.corpus[0]
    if getattr(options, "encoding_errors", None) is not None:
        found["corpus.encoding_errors"] = options.encoding_errors
    return found


def _progress(stream: Any = None):
    from rich.console import Console

    from aurelius.cli.console import attach
    from aurelius.progress import SILENT

    return attach(Console(file=stream)) if _speaks() else SILENT


def _speaks() -> bool:
    """Whether this process prints; of several that torchrun started, the first does."""
    return os.environ.get("RANK", "0") == "0"


def _export(options: argparse.Namespace) -> None:
    from aurelius.pipeline.run import RECIPE, require_trained

    if (Path(options.recipe) / RECIPE).is_file():  # a recipe's name means the whole way
        require_trained(Path(options.recipe))
    folder = _run(options)
    if not options.check or not _speaks():
        return
    from rich.console import Console

    from aurelius.cli.console import parity_table
    from aurelius.parity.check import check
    from aurelius.parity.compare import problems_of

    comparisons, skipped = check(folder, _progress(sys.stderr))
    Console(width=None if sys.stdout.isatty() else 170).print(parity_table(comparisons))
    for reason in skipped:
        print(f"skipped: {reason}")
    if problems := problems_of(comparisons):
        raise ModelError(f"{len(problems)} out of tolerance: {'; '.join(problems)}")
    print(f"all {len(comparisons)} files within tolerance")


def _import(options: argparse.Namespace) -> None:
    from aurelius.importing.import_model import import_model

    out, tokenizer = (Path(name) if name else None for name in (options.out, options.tokenizer))
    run = import_model(Path(options.source), out, tokenizer, _overrides(options), _progress())
    print(f"{run} is a run")
    print(f"measure it      aurelius evaluate {run} --on FILE")
    print(f"train it on     aurelius run {run} --update --set training.steps=2000 --corpus FILE")
    print(f"export it       aurelius export {run}")


def _publish(options: argparse.Namespace) -> None:
    from aurelius.pipeline.run import require_trained, run
    from aurelius.publishing import hub

    progress, folder = _progress(sys.stderr), Path(options.run)
    hub.check_names(options.repo, options.license)
    require_trained(folder)
    try:
        run(folder, to=("onnx", "gguf"), progress=progress)
    except TokenizerError as error:
        progress.note(f"gguf: left out, {error}")
        run(folder, to=("onnx",), progress=progress)
    found = hub.prepare(folder, options.repo, options.license, progress)
    for line in found.summary(options.private, options.collection):
        print(line)
    if options.send:
        hub.send(found, options.private, options.collection, progress)
        return
    if found.outdated:
        print(f"removed there, if an earlier publication left them: {', '.join(found.outdated)}")
    print(f"nothing was sent; read {found.folder / 'README.md'}, then add --send")
    for problem in found.missing_licences:
        progress.warn(problem)


def _run(options: argparse.Namespace) -> Path:
    """Run, tell what was done, and return the run's folder."""
    from aurelius.cli.console import duration
    from aurelius.pipeline.run import run

    started = time.monotonic()
    result = run(
        options.recipe,
        options.out,
        overrides=_overrides(options),
        minutes=options.minutes,
        until=options.until,
        to=[name.strip() for name in getattr(options, "to", "").split(",") if name],
        update=options.update,
        verify=options.verify,
        device=options.device,
        auto_batch=options.auto_batch,
        track=options.track,
        workers=(os.cpu_count() or 1) if options.workers is None else options.workers,
        progress=_progress(),
    )
    if not _speaks():
        return result.folder
    taken = duration(time.monotonic() - started)
    if not result.done:
        print(f"nothing to do: {result.folder} is up to date ({taken})")
    if options.until in ("export", "evaluation"):
        _summary(result.folder, options.until == "export")
    elif result.done:
        print(f"{result.folder / options.until} is there ({taken})")
    return result.folder


def _summary(run: Path, exported: bool) -> None:
    from aurelius.files import read_json

    report = read_json(run / "evaluation" / "report.json")
    figures = report["documentwise"]
    print(f"\n{report['samples'][0]['text']}\n")
    print(
        f"bits per byte   {figures['bits_per_byte']:.4f} ± {figures['standard_error']:.4f} on "
        f"{figures['documents']:,} held-out stories of this corpus"
    )
    print(f"parameters      {report['parameters']:,}, trained on {report['trained']['tokens']:,} tokens")
    print(f"run             {run}")
    print(f"figures         {run / 'evaluation' / 'report.json'}")
    if exported:
        print(f"model           {run / 'export' / 'huggingface'}")
    print(f'another story   aurelius generate {run} "Once upon a time"')


def _evaluate(options: argparse.Namespace) -> None:
    unused = (
        ("column", "json")
        if options.on is None
        else ("out", "corpus", "minutes", "set", "update", "verify", "auto_batch", "track", "workers")
    )
    for name in unused:
        if getattr(options, name):
            word = "without" if options.on is None else "with"
            raise RecipeError(f"--{name.replace('_', '-')} has no meaning {word} --on FILE")
    if options.on is None:
        _run(options)
        return
    import json

    from aurelius.corpus.readers.reader import ReadOptions
    from aurelius.corpus.readers.sources import open_path
    from aurelius.evaluation.likelihood import measure
    from aurelius.evaluation.packed import packed
    from aurelius.inference.models import open_model

    read_options = ReadOptions(options.column or "text", options.encoding_errors or "strict")
    documents = [text for text in open_path(Path(options.on), read_options).stories if text]
    model = open_model(options.recipe, options.device)
    figures = {"model": model.name, "on": options.on, "parameters": model.parameters}
    progress = _progress(sys.stderr)
    figures |= measure(model, documents, progress).as_json()
    if blocks := packed(model, documents, progress):
        figures |= {f"packed_{name}": value for name, value in blocks.as_json().items()}
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, value in figures.items():
        text = (
            f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float) else value
        )
        print(f"{name.replace('_', ' '):34}{text}")


def _generate(options: argparse.Namespace) -> None:
    import random

    from pydantic import ValidationError

    from aurelius.inference.generate import generate
    from aurelius.inference.models import open_model
    from aurelius.inference.sampling import Sampling
    from aurelius.tokenizer.load import check_text

    check_text(options.prompt)
    given = {k: v for k in Sampling.model_fields if (v := getattr(options, k)) is not None}
    try:
        Sampling(**given)  # before the model is loaded
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_new_", "_").replace("_", "-")
        raise RecipeError(f"--{option} {first['input']}: {first['msg']}") from None
    seed = random.randrange(2**31) if options.seed is None else options.seed
    model = open_model(options.model, options.device)
    sampling = model.sampling.model_copy(update=given)
    print(options.prompt.rstrip(), end="", flush=True)
    for piece in generate(model, options.prompt, sampling, seed, options.parse_special):
        print(piece, end="", flush=True)
    print()


def _watch(options: argparse.Namespace) -> None:
    from rich.console import Console

    from aurelius.cli.watch import watch

    watch(Path(options.run), Console(), once=options.once)


def _inspect_corpus(options: argparse.Namespace) -> None:
    from itertools import islice

    from aurelius.corpus.inspect import search

    side = "dropped" if options.reason else options.side
    shown, first = 0, options.begin
    if first < 0 or options.count < 1:
        raise RecipeError("--count is at least 1 and --from at least 0")
    found = search(Path(options.run), side, options.search, options.reason)
    for story in islice(found, first, first + options.count):
        alike = f", similarity {story.similarity:.3f}" if story.similarity else ""
        why = f": {story.reason}{alike}" if story.reason else ""
        print(f"--- {story.side} {story.number}{why}\n{story.text}\n")
        shown += 1
    more = f"; the next ones: --from {first + shown}" if shown == options.count else ", and no more"
    print(f"{shown} stories{more}")


def _inspect_tokenizer(options: argparse.Namespace) -> None:
    from rich.console import Console

    from aurelius.cli.console import cut_table
    from aurelius.corpus.readers.reader import ReadOptions
    from aurelius.corpus.readers.sources import open_path
    from aurelius.tokenizer.inspect import inspect

    model = Path(options.model) if options.model else _newest_run()
    file = Path(options.text)
    is_file = len(options.text) < 256 and file.is_file()
    read_options = ReadOptions(options.column, options.encoding_errors or "strict")
    cut = inspect(model, open_path(file, read_options).stories if is_file else [options.text])
    for part in cut_table(cut, str(model)):
        Console().print(part)


def _newest_run() -> Path:
    found = sorted(Path("runs").glob("*/tokenizer/tokenizer.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RunError("there is no run with a tokenizer in runs/; name one with --model")
    return found[-1].parents[1]


def _recipes(options: argparse.Namespace) -> None:
    from aurelius.config import shipped as recipes
    from aurelius.config.recipe import Recipe

    for name in recipes.NAMES:
        print(f"{name:16}{Recipe.load(name).description}")


def _show(options: argparse.Namespace) -> None:
    from aurelius.cli.console import duration
    from aurelius.config.recipe import Recipe
    from aurelius.training.timing import memory_bytes, seconds_per_step

    recipe = Recipe.load(options.recipe, _overrides(options))
    print(recipe.to_toml())
    steps = recipe.training.steps
    per_step = seconds_per_step(recipe, options.device)
    print(f"# parameters        {recipe.parameters:,}")
    print(f"# tokens a step     {recipe.tokens_per_step:,}")
    print(f"# total tokens      {recipe.tokens_per_step * steps:,}")
    print(
        f"# time here         about {duration(per_step * steps)} of training "
        f"({recipe.tokens_per_step / per_step:,.0f} tokens/s, timed just now)"
    )
    print(f"# memory            about {memory_bytes(recipe) / 2**30:.1f} GiB in training")


def _doctor(options: argparse.Namespace) -> None:
    from aurelius.cli.doctor import findings

    for name, text in findings():
        print(f"{name:14}{text}")


ACTS = {
    "export": _export,
    "run": _run,
    "evaluate": _evaluate,
    "generate": _generate,
    "publish": _publish,
    "import": _import,
    "watch": _watch,
    "inspect_corpus": _inspect_corpus,
    "inspect_tokenizer": _inspect_tokenizer,
    "recipes": _recipes,
    "show": _show,
    "doctor": _doctor,
}
