"""Files that are whole or absent, and the manifest that says a stage is done.

A stage is done if and only if its ``manifest.json`` is there and matches; the manifest is written last and
atomically. Resuming, caching, reproducibility and "what made this file?" all follow from that.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from aurelius.errors import RunError

FORMAT = 1  # of the artifacts; raised when an older folder can no longer be read
MANIFEST = "manifest.json"
PACKAGES = ("aurelius-lm", "torch", "tokenizers", "transformers", "numpy", "pyarrow", "safetensors")


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Force a file, or the entries of a folder, to the disk (folders: where the system allows it)."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it there at the end; on an error leave nothing.

    Raises:
        OSError: the disk refuses; ``path`` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, for people to read: indented, UTF-8, ending in a newline."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunError: it is missing or not JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: not JSON ({error})") from None


def versions() -> dict[str, str]:
    """Return the versions that decide what a run computes."""
    found = {"python": python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@dataclass(frozen=True)
class Entry:
    """A file as a manifest knows it. Size (bytes) and mtime (ns) save hashing the content each time."""

    sha256: str
    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "Entry":
        """Describe the file at ``path``."""
        status = path.stat()
        return cls(sha256(path), status.st_size, status.st_mtime_ns)

    def describes(self, path: Path, verify: bool = False) -> bool:
        """Whether ``path`` still holds this content; hashed again only if touched, or under ``verify``."""
        if not path.is_file():
            return False
        status = path.stat()
        if status.st_size != self.bytes:
            return False
        if status.st_mtime_ns == self.mtime_ns and not verify:
            return True
        return sha256(path) == self.sha256


@dataclass(frozen=True)
class Manifest:
    """What a finished stage was made from, and what it made.

    ``inputs`` are the hashes of earlier artifacts ("corpus/train.parquet"), ``sources`` files of the user's
    by absolute path, ``outputs`` the stage's own files by path within its folder.
    """

    stage: str
    recipe: dict[str, Any]
    inputs: dict[str, str]
    sources: dict[str, Entry]
    outputs: dict[str, Entry]
    seconds: float
    versions: dict[str, str] = field(default_factory=versions)
    format: int = FORMAT

    @classmethod
    def read(cls, folder: Path) -> "Manifest | None":
        """Return the manifest of a stage folder, or None where the stage is not done.

        Raises:
            RunError: the manifest is damaged, or of a format this version does not read.
        """
        path = folder / MANIFEST
        if not path.exists():
            return None
        try:
            value = read_json(path)
            if value["format"] != FORMAT:
                raise RunError(f"{path} has format {value['format']}; this version reads {FORMAT}")
            for key in ("sources", "outputs"):
                value[key] = {name: Entry(**entry) for name, entry in value[key].items()}
            return cls(**value)
        except RunError as error:
            raise RunError(f"{error}; move it away to redo the stage (training goes on)") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path} is damaged ({error}); move it away to redo the stage (training goes on)"
            ) from None

    def write(self, folder: Path) -> None:
        """Write the manifest: from here on the stage is done."""
        write_json(folder / MANIFEST, asdict(self))

    def damaged(self, folder: Path, verify: bool = False) -> list[Path]:
        """Return the stage's files that are missing or no longer what the manifest says."""
        return [folder / n for n, entry in self.outputs.items() if not entry.describes(folder / n, verify)]

    def changed_sources(self, verify: bool = False) -> list[str]:
        """Return the user's files that are there but no longer what the stage read."""
        return [s for s, e in self.sources.items() if Path(s).exists() and not e.describes(Path(s), verify)]


def describe(folder: Path) -> dict[str, Entry]:
    """Return the entries of a folder's files (all but the manifest and hidden ones), by relative path."""
    found = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name.as_posix(): Entry.of(path)
        for name, path in found.items()
        if path.name != MANIFEST and not any(part.startswith(".") for part in name.parts)
    }
