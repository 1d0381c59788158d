"""``aurelius completion``: what makes a shell complete commands, options and files."""

import argparse

from aurelius.cli.command import Command

SHELLS = ("bash", "zsh", "tcsh")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell to write the script for")


def _act(options: argparse.Namespace) -> None:
    import shtab

    from aurelius.cli.registry import parsers

    print(shtab.complete(parsers()[0], options.shell))


EXAMPLES = """\
aurelius completion bash > ~/.local/share/bash-completion/completions/aurelius
aurelius completion zsh > ~/.zfunc/_aurelius"""
COMMANDS = [Command("completion", "print a completion script for your shell", _add_arguments, _act, EXAMPLES)]
