"""The entry point: parse, act, and turn every error into one line and an exit code."""

import os
import signal
import sys
import warnings
from typing import Any

from aurelius.cli.options import refuse_torchrun
from aurelius.cli.registry import parse
from aurelius.errors import AureliusError
from aurelius.signals import terminable


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    It is 0, 2 for misuse, 1 for what the machine refuses, 130 after Ctrl-C, 143 after SIGTERM.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if broken := [word for word in arguments if _is_broken(word)]:
        print(f"aurelius: {broken[0]!a} is not valid UTF-8; rename the file or retype it", file=sys.stderr)
        return 2
    options = parse(arguments)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):  # a terminal may lack some characters
            reconfigure(errors="replace")
    try:
        with terminable(), warnings.catch_warnings():
            warnings.showwarning = _show_notice(warnings.showwarning)
            refuse_torchrun(options.command)
            options.act(options)
        return 0
    except AureliusError as error:
        print(f"aurelius: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output went away; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        from aurelius.pipeline.run import storage_error

        print(f"aurelius: {storage_error(error)}", file=sys.stderr)
        return 1
    except MemoryError:
        advice = "close other programs, or use less (--workers 1, fewer stories, a smaller model)"
        print(f"aurelius: out of memory; {advice}; finished stages are kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("aurelius: interrupted; run the same command to resume", file=sys.stderr)
        return 128 + (stop.args or (signal.SIGINT,))[0]


def _is_broken(word: str) -> bool:
    """Whether an argument has bytes that are not UTF-8; Python passes them as lone surrogates."""
    return any("\ud800" <= character <= "\udfff" for character in word)


def _show_notice(otherwise: Any) -> Any:
    """Return a way of showing warnings: ours, about renamed settings, in one line."""

    def show(message: Warning | str, category: type[Warning], *details: Any, **more: Any) -> None:
        if category is FutureWarning:
            print(f"aurelius: note: {message}", file=sys.stderr)
        else:
            otherwise(message, category, *details, **more)

    return show
