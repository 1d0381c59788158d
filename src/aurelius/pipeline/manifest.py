"""The manifest that says a stage is done.

A stage is done if and only if its ``manifest.json`` is there and matches; it is written last, atomically.
Resuming, caching, reproducibility and "what made this file?" all follow from that.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aurelius.errors import RunError
from aurelius.files import read_json, sha256, write_json
from aurelius.run_paths import MANIFEST
from aurelius.versions import versions

FORMAT = 1  # of the artifacts; raised when an older folder can no longer be read


@dataclass(frozen=True)
class Entry:
    """A file as recorded in a manifest. Size (bytes) and mtime (ns) avoid hashing the content each time."""

    sha256: str
    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "Entry":
        """Describe the file at ``path``."""
        status = path.stat()
        return cls(sha256(path), status.st_size, status.st_mtime_ns)

    def describes(self, path: Path, verify: bool = False) -> bool:
        """Whether ``path`` still holds this content; hashed only if its time changed, or with ``verify``."""
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
    """What a finished stage was made from, and what it wrote.

    ``inputs`` are the hashes of earlier artifacts ("corpus/train.parquet"), ``sources`` the user's files by
    absolute path, ``outputs`` the stage's own files by path in its folder.
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
        """Return the manifest of a stage folder, or None if the stage is not done.

        Raises:
            RunError: the manifest is damaged, or in a format that this version does not read.
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
            raise RunError(f"{error}; move it away to redo the stage (training resumes)") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path} is damaged ({error}); move it away to redo the stage (training resumes)"
            ) from None

    def write(self, folder: Path) -> None:
        """Write the manifest; from here on the stage is done."""
        write_json(folder / MANIFEST, asdict(self))

    def damaged(self, folder: Path, verify: bool = False) -> list[Path]:
        """Return the stage's files that are missing or no longer as recorded."""
        return [folder / n for n, entry in self.outputs.items() if not entry.describes(folder / n, verify)]

    def changed_sources(self, verify: bool = False) -> list[str]:
        """Return the user's files that exist but are no longer what the stage read."""
        return [s for s, e in self.sources.items() if Path(s).exists() and not e.describes(Path(s), verify)]


def describe(folder: Path) -> dict[str, Entry]:
    """Return the entries of a folder's files (except the manifest and hidden ones), by relative path."""
    paths = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name.as_posix(): Entry.of(path)
        for name, path in paths.items()
        if path.name != MANIFEST and not any(part.startswith(".") for part in name.parts)
    }
