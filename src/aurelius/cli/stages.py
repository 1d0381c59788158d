"""One command per stage before evaluation: ``corpus``, ``tokenizer``, ``pack`` and ``train``."""

import argparse
from functools import partial

from aurelius.cli import options as common
from aurelius.cli.command import Command
from aurelius.cli.run import bring_up_to_date
from aurelius.errors import RunError

STAGES = {
    "corpus": ("corpus", "read, clean and split the stories"),
    "tokenizer": ("tokenizer", "train the tokenizer"),
    "pack": ("tokens", "encode the stories"),
    "train": ("training", "train the model; also under torchrun"),
}


def _act(stage: str, options: argparse.Namespace) -> None:
    if stage == "training" and common.process_count() > 1:
        _train_together(options)
    else:
        bring_up_to_date(options, stage)


def _train_together(options: argparse.Namespace) -> None:
    from aurelius.pipeline.train_together import train_together

    if options.more_minutes is not None:
        raise RunError("torchrun cannot continue a run; leave out --more-minutes, or torchrun")
    known = ("recipe", "out", "overrides", "minutes", "device", "auto_batch", "track")
    arguments = {key: value for key, value in common.run_options(options).items() if key in known}
    result = train_together(**arguments, progress=common.reporter(options))
    if common.prints():
        print(f"{result.training} is {'done' if result.done else 'up to date'}")


COMMANDS = tuple(
    Command(
        name,
        f"stop after one stage: {what}",
        common.add_run_options if name == "train" else common.add_stage_options,
        partial(_act, stage),
        f"aurelius {name} nano --corpus stories.txt --out runs/mine\naurelius {name} mine",
    )
    for name, (stage, what) in STAGES.items()
)
