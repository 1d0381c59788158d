"""The errors that Aurelius raises on purpose: what was found, where, and what to do about it."""

import shlex


class AureliusError(Exception):
    """Base of every deliberate error. ``exit_code`` is what the command line exits with: 2 for misuse."""

    exit_code = 2


class RecipeError(AureliusError):
    """A recipe has an unknown key, a wrong type, or an impossible combination."""


class CorpusError(AureliusError):
    """A corpus cannot be read, or holds too little to train on."""


class TokenizerError(AureliusError):
    """A tokenizer cannot be trained or read, or does not fit its model."""


class ModelError(AureliusError):
    """A model folder or checkpoint is missing, incomplete or of the wrong shape."""


class RunError(AureliusError):
    """A run folder does not match the request: another recipe, a missing or a changed artifact."""


class CompareError(AureliusError):
    """Models cannot be compared: other documents, too few seeds, or a study that does not add up."""


class StorageError(AureliusError):
    """The disk refused: no space left, no permission, a folder that cannot be made."""

    exit_code = 1


class HubError(AureliusError):
    """The Hugging Face hub cannot be reached, or does not have what was named."""

    exit_code = 1


class MemoryExhausted(AureliusError):
    """The request does not fit in memory."""

    exit_code = 1


class TrainingDiverged(AureliusError):
    """The loss or the gradient is no longer a finite number."""

    exit_code = 1


class Interrupted(AureliusError):
    """Training was asked to stop (Ctrl-C, SIGTERM) and saved a checkpoint."""

    def __init__(self, message: str, exit_code: int = 130):
        super().__init__(message)
        self.exit_code = exit_code


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message (after a colon, two), or its type if it has none."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return " ".join(line.strip() for line in lines[: 1 + lines[0].rstrip().endswith(":")])


def suggest(*words: object) -> str:
    """Return a command of ours to copy into a shell, its arguments quoted where they have to be."""
    return shlex.join(["aurelius", *map(str, words)])


def some(names: list[str]) -> str:
    """Return the first three of some names, for a message."""
    return ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")
