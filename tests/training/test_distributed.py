"""Real processes under torchrun."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aurelius.config.recipe import Recipe
from aurelius.errors import RecipeError
from aurelius.model.checkpoint_folder import newest_checkpoint
from aurelius.pipeline.run import run as run_pipeline

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


@pytest.fixture
def begun(tiny: Recipe, tiny_run: Path, tmp_path: Path):
    """Return a maker of run folders whose stages before training are done."""

    def make(name: str, **training) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for stage in ("corpus", "tokenizer", "tokens"):
            shutil.copytree(tiny_run / stage, folder / stage)
        changes = {f"training.{key}": value for key, value in training.items()}
        (folder / "recipe.toml").write_text(tiny.with_(**changes).to_toml())
        return folder

    return make


def together(folder: Path, *options: str, processes: int = 2) -> list[str]:
    """Return the command that trains a run on this machine with several processes."""
    here = ["--standalone", "--nproc-per-node", str(processes), *options]
    return [*TORCHRUN, *here, "-m", "aurelius", "train", str(folder), "--device", "cpu"]


ROUNDED = 1.1e-5  # what is asked for, 1e-5, between figures that are told to five digits


def losses(folder: Path) -> list[float]:
    lines = map(json.loads, (folder / "training/metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def weights(folder: Path) -> bytes:
    return (newest_checkpoint(folder / "training") / "model.safetensors").read_bytes()


def test_two_processes_are_one_that_accumulates(begun):
    settings = {"steps": 20, "log_every": 1, "accumulate": 2}
    alone, pair = begun("alone", **settings), begun("pair", **settings)
    run_pipeline(alone, until="training", device="cpu")
    done = subprocess.run(together(pair), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert losses(pair) == pytest.approx(losses(alone), abs=ROUNDED) and len(losses(pair)) == 20
    assert done.stderr.count("training: done") == 1, "one process speaks"
    run_pipeline(pair, until="export", device="cpu")  # one process goes on where two were


def test_a_batch_that_cannot_be_shared(begun):
    done = subprocess.run(together(begun("odd", batch=3)), capture_output=True, text=True, timeout=280)
    assert done.returncode != 0
    assert "2 processes cannot share training.batch 3" in done.stderr
    assert RecipeError.__name__ not in done.stderr, "a message, no traceback"


@pytest.mark.long
def test_a_killed_worker_is_restarted_and_nothing_changes(begun):
    settings = {"steps": 400, "checkpoint_every": 20, "keep_checkpoints": 100}
    straight, broken = begun("straight", **settings), begun("broken", **settings)
    subprocess.run(together(straight), check=True, capture_output=True, timeout=280)
    process = subprocess.Popen(
        together(broken, "--max-restarts", "2"), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not (broken / "training/step-000100").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
        os.kill(int(workers.stdout.split()[-1]), signal.SIGKILL)
        _, err = process.communicate(timeout=280)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "training resumes from step" in err
    assert weights(straight) == weights(broken)


def sudo_less(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture
def hosts():
    """Make two network namespaces joined by a virtual cable, as two machines would be; return their names."""
    names = [f"aurelius{os.getpid()}{letter}" for letter in "ab"]
    links = [f"aur{os.getpid() % 10000}{letter}" for letter in "ab"]
    try:
        for name in names:
            sudo_less("ip", "netns", "add", name)
        sudo_less("ip", "link", "add", links[0], "type", "veth", "peer", "name", links[1])
        for number, (name, link) in enumerate(zip(names, links, strict=True), 1):
            sudo_less("ip", "link", "set", link, "netns", name)
            inside = ["ip", "netns", "exec", name, "ip"]
            sudo_less(*inside, "addr", "add", f"10.77.0.{number}/24", "dev", link)
            sudo_less(*inside, "link", "set", link, "up")
            sudo_less(*inside, "link", "set", "lo", "up")
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False) if shutil.which(
                "ip"
            ) else None
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', error)}")
    yield list(zip(names, links, strict=True))
    for name in names:
        sudo_less("ip", "netns", "del", name)


@pytest.mark.long
def test_two_hosts_train_together(begun, hosts):
    settings = {"steps": 20, "log_every": 1, "accumulate": 2}
    alone, pair = begun("alone", **settings), begun("pair", **settings)
    run_pipeline(alone, until="training", device="cpu")
    processes = []
    for number, (name, link) in enumerate(hosts):
        meet = ["--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "1"]
        meet += ["--master-addr", "10.77.0.1", "--master-port", "29400"]
        command = ["ip", "netns", "exec", name, *TORCHRUN, *meet, "-m", "aurelius"]
        processes.append(
            subprocess.Popen(
                [*command, "train", str(pair), "--device", "cpu"],
                env={**os.environ, "GLOO_SOCKET_IFNAME": link},
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for process in processes:
        _, err = process.communicate(timeout=280)
        assert process.returncode == 0, err
    assert losses(pair) == pytest.approx(losses(alone), abs=ROUNDED)
