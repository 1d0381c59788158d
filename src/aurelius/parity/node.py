"""Runtimes in JavaScript: a Node.js process in the folder whose ``node_modules`` has the package."""

import json
import os
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from aurelius.errors import ModelError
from aurelius.files import read_json
from aurelius.parity.runtime import THREADS, Answers, Task

TIMEOUT = 1800  # seconds


def missing(package: str) -> str:
    """Say what is missing to run a package, and how to get it; "" if nothing is."""
    if not shutil.which("node"):
        return "Node.js is not installed"
    return "" if find_folder(package) else f"npm install {package}"


def find_folder(package: str) -> Path | None:
    """Return the nearest folder, from the current one up, whose ``node_modules`` has a package.

    The environment variable AURELIUS_NODE names another folder to start from.
    """
    here = Path(os.environ.get("AURELIUS_NODE", ".")).absolute()
    return next((up for up in (here, *here.parents) if (up / "node_modules" / package).is_dir()), None)


def installed_version(package: str) -> str:
    """Return the version of an installed package, or ""."""
    folder = find_folder(package)
    return str(read_json(folder / "node_modules" / package / "package.json")["version"]) if folder else ""


def answer(package: str, script: Path, options: dict[str, Any], task: Task) -> Answers:
    """Run a script that reads a task file, with ``options`` added, and writes its answers.

    Raises:
        ModelError: the script failed.
    """
    with TemporaryDirectory() as temporary:
        out = Path(temporary)
        (out / "task.json").write_text(
            json.dumps({**asdict(task), **options, "out": temporary, "threads": THREADS})
        )
        done = subprocess.run(
            ["node", "--input-type=module", "-", str(out / "task.json")],
            input=script.read_bytes(),
            cwd=find_folder(package),
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise ModelError(f"{script.name} failed: {done.stderr.decode(errors='replace').strip()[-800:]}")
        answers = json.loads((out / "answers.json").read_text())
        logits = [
            np.fromfile(out / f"logits-{n}.f32", "<f4").reshape(-1, task.vocab_size)
            for n in range(len(task.sequences))
        ]
    return Answers(logits=logits, **answers)
