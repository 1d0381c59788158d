"""The engine on a real local cluster of two workers, one of which is killed."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from aurelius.run_paths import RunPaths
from aurelius.studies.definition import Study, trials_of
from aurelius.studies.ray_engine import on_ray
from aurelius.studies.results import Record
from aurelius.studies.worker import Work
from tests.conftest import TINY

pytestmark = pytest.mark.long
STEPS = 400


def test_a_trial_whose_worker_is_killed_goes_on_from_its_checkpoint(tmp_path: Path):
    pytest.importorskip("ray")
    changes = {key: value for key, value in TINY.items() if key != "name"} | {"training.steps": STEPS}
    changes |= {"training.checkpoint_every": 5, "training.log_every": 5}
    study = Study.of({"title": "T", "recipe": "pico", "set": changes, "grid": {"model.d_mlp": [48, 64]}})
    works = [
        Work(trial, tmp_path / trial.folder, ["A dog ran. It was happy."], study, "cpu")
        for trial in trials_of(study, Path())
    ]
    victims: list[int] = []

    def kill_one() -> None:
        folder = RunPaths(works[0].folder).training
        if victims or not list(folder.glob("step-*")):
            return
        for process in psutil.Process().children(recursive=True):
            if "ray::_do" in " ".join(process.cmdline()) and _holds(process, works[0].folder):
                victims.append(process.pid)
                os.kill(process.pid, signal.SIGKILL)
                time.sleep(0.1)

    found = {work.folder: outcome for work, outcome in on_ray(works, 2, kill_one)}
    assert victims, "no worker was killed"
    assert len(found) == 2
    for outcome in found.values():
        assert isinstance(outcome, Record), outcome
        assert outcome.steps == STEPS


def _holds(process: psutil.Process, folder: Path) -> bool:
    """Whether a process has the lock or the metrics of a run open."""
    try:
        return any(file.path.startswith(str(folder)) for file in process.open_files())
    except psutil.Error:
        return False
