"""The report, comparisons and studies stand on top: without them, the rest is whole."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import aurelius

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
PACKAGES = ("reporting", "studies")
COMMANDS = ("report", "compare", "study")
TESTS = (
    "tests/pipeline/test_run.py", "tests/evaluation", "tests/export/test_huggingface.py",
    "tests/cli/test_generate.py", "tests/inference/test_models.py",
)  # fmt: skip


def test_the_rest_passes_its_tests_without_them(tmp_path: Path):
    package = Path(shutil.copytree(Path(aurelius.__file__).parent, tmp_path / "aurelius"))
    for name in PACKAGES:
        shutil.rmtree(package / name)
    for name in COMMANDS:
        (package / f"cli/{name}.py").unlink()
    for file in ("cli/registry.py", "__init__.py"):
        text = (package / file).read_text()
        lines = re.compile(rf'^    "({"|".join((*PACKAGES, *COMMANDS))})",\n', re.MULTILINE)
        (package / file).write_text(lines.sub("", text))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    where = subprocess.run(
        [sys.executable, "-c", "import aurelius; print(aurelius.__file__)"],
        capture_output=True, text=True, env=environment, cwd=ROOT, check=True,
    )  # fmt: skip
    assert where.stdout.strip() == str(package / "__init__.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not long", *TESTS],
        capture_output=True, text=True, env=environment, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
