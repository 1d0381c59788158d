"""The parity check, not repeated for files and packages that were compared before."""

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from aurelius import __version__
from aurelius.errors import RunError
from aurelius.files import read_json, write_json
from aurelius.parity.check import check
from aurelius.parity.compare import Comparison, problems_of
from aurelius.parity.registry import find_runtimes
from aurelius.parity.runtime import Runtime
from aurelius.pipeline.manifest import Manifest
from aurelius.progress import SILENT, Progress
from aurelius.run_paths import MANIFEST, RunPaths

FILE = "parity.json"
PACKAGES = ("numpy", "torch", "transformers", "tokenizers", "onnxruntime", "llama-cpp-python")


def check_once(run: Path, progress: Progress = SILENT) -> tuple[list[Comparison], list[str]]:
    """Return what `check` returns; what it found is kept in ``export/parity.json`` as long as it is valid.

    It is valid for the same exported files, versions of packages and installed runtimes, and only if nothing
    was out of tolerance.

    Raises:
        RunError, ModelError: as `check`.
    """
    paths = RunPaths(run)
    file, key = paths.export(FILE), _key(paths)
    if (known := _read(file)) and known["key"] == key:
        progress.note("the runtimes were compared before, with the same files and versions")
        return [_comparison(run, row) for row in known["comparisons"]], known["skipped"]
    comparisons, skipped = check(run, progress)
    if not problems_of(comparisons):
        rows = [asdict(c) | {"path": str(c.path.relative_to(run))} for c in comparisons]
        write_json(file, {"key": key, "comparisons": rows, "skipped": skipped})
    return comparisons, skipped


def _read(file: Path) -> dict[str, Any] | None:
    try:
        known = read_json(file)
    except RunError:  # missing, or damaged
        return None
    complete = isinstance(known, dict) and {"key", "comparisons", "skipped"} <= known.keys()
    return known if complete else None


def _comparison(run: Path, row: dict[str, Any]) -> Comparison:
    ids = tuple(row["ids"]) if row["ids"] else None
    return Comparison(**row | {"path": run / row["path"], "ids": ids, "problems": tuple(row["problems"])})


def _key(run: RunPaths) -> str:
    """Return a hash of everything that the comparison depends on."""
    files = {
        f"{folder.name}/{name}": entry.sha256
        for folder in sorted(path.parent for path in run.huggingface.parent.glob(f"*/{MANIFEST}"))
        if (manifest := Manifest.read(folder))
        for name, entry in manifest.outputs.items()
        if name != "README.md"
    }
    found = [f"{r.name} {r.kind}" if isinstance(r, Runtime) else r for r in find_runtimes(run.folder)]
    versions = {"aurelius": __version__} | {name: _version(name) for name in PACKAGES}
    return hashlib.sha256(json.dumps([files, found, versions], sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
