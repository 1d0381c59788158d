"""The parity check, not repeated for files and packages that were compared before."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aurelius.errors import RunError
from aurelius.export.registry import BASE, targets
from aurelius.files import read_json, sha256, write_json
from aurelius.parity import node
from aurelius.parity.check import check
from aurelius.parity.compare import Comparison, problems_of
from aurelius.parity.registry import find_runtimes
from aurelius.parity.runtime import Runtime, finished_files
from aurelius.parity.runtimes import llama_cpp, transformers_js
from aurelius.progress import SILENT, Progress
from aurelius.run_paths import RunPaths
from aurelius.versions import PACKAGES, versions

FILE = "parity.json"


def check_once(run: Path, progress: Progress = SILENT) -> tuple[list[Comparison], list[str]]:
    """Return what `check` returns; what it found is kept in ``export/parity.json`` as long as it is valid.

    It is valid for the same contents of the exported files, versions of packages and installed runtimes, and
    only if nothing was out of tolerance.

    Raises:
        RunError, ModelError: as `check`.
    """
    file, key = RunPaths(run).export(FILE), _key(run)
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


def _key(run: Path) -> str:
    """Return a hash of everything that the comparison depends on."""
    written = [path for name in (BASE, *(t.name for t in targets())) for path in finished_files(run, name)]
    files = {
        path.relative_to(run).as_posix(): sha256(path)  # not the manifest's: a file may be damaged since
        for path in written
        if path.name != "README.md" and path.exists()
    }
    runtimes = [f"{r.name} {r.kind}" if isinstance(r, Runtime) else r for r in find_runtimes(run)]
    scripts = {each.PACKAGE: node.installed_version(each.PACKAGE) for each in (llama_cpp, transformers_js)}
    packages = versions((*PACKAGES, "onnxruntime")) | scripts
    return hashlib.sha256(json.dumps([files, runtimes, packages], sort_keys=True).encode()).hexdigest()
