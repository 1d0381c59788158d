"""``aurelius storyteller``: stories of the built-in corpus."""

import argparse

from aurelius.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=1, metavar="N", help="how many stories (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the stories (default: 0)")


def _act(options: argparse.Namespace) -> None:
    from aurelius.corpus.storyteller import stories

    print("\n\n".join(stories(options.count, options.seed)))


COMMANDS = [Command("storyteller", "print stories of the built-in corpus", _add_arguments, _act)]
