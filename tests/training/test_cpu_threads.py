"""A step shared by threads is the step of one."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from aurelius.config.recipe import Recipe
from aurelius.data.blocks import Blocks
from aurelius.data.store import TokenStore
from aurelius.errors import Interrupted
from aurelius.training.cpu_threads import ThreadTeam
from aurelius.training.loop import train
from aurelius.training.trainer import Trainer
from tests.conftest import Alarm

CPU = torch.device("cpu")


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Give what sets the number of PyTorch's threads until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def blocks(tiny_run: Path, tiny: Recipe) -> Blocks:
    return Blocks(TokenStore.open(tiny_run / "tokens", "train"), tiny.model.context, 0)


def test_results_come_in_order():
    def work(number: int, delay: float) -> tuple[int, str]:
        time.sleep(delay)
        return number, threading.current_thread().name

    found = list(ThreadTeam(2).map(work, range(6), [0.1, 0, 0.05, 0, 0, 0]))
    assert [number for number, _ in found] == list(range(6)) and len({name for _, name in found}) == 2


def test_an_error_is_raised_once_no_thread_is_working():
    ended = []

    def work(number: int) -> None:
        if number == 0:
            raise MemoryError
        time.sleep(0.2)
        ended.append(number)

    with pytest.raises(MemoryError):
        list(ThreadTeam(2).map(work, range(50)))
    count = len(ended)
    assert count < 49, "what had not begun is left out"
    time.sleep(0.5)
    assert len(ended) == count


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_threads_compute_the_same_step_as_one(tiny: Recipe, blocks: Blocks, threads, optimizer: str):
    """Also where the stories cannot be shared evenly, and where a step has several micro-batches."""
    found = {}
    for count, accumulate in ((1, 1), (2, 1), (3, 1), (4, 2), (9, 4)):
        threads(count)
        recipe = tiny.with_(**{"optimizer.name": optimizer, "training.accumulate": accumulate})
        trainer = Trainer(recipe, blocks, CPU)
        assert trainer.cpu and trainer.cpu.threads.count == min(count, 8), "twice as many as blocks at most"
        figures = [torch.stack(trainer.step()) for _ in range(5)]
        found[count] = torch.stack(figures), trainer.model.state_dict()
    figures, weights = found.pop(1)
    for other_figures, other_weights in found.values():
        torch.testing.assert_close(other_figures, figures, rtol=1e-4, atol=0)
        for name, weight in weights.items():
            torch.testing.assert_close(other_weights[name], weight, rtol=0, atol=2e-4)


def test_a_stopped_training_ends_bit_for_bit_the_same(tiny, tiny_run: Path, tmp_path: Path, threads):
    threads(2)
    tokens = tiny_run / "tokens"
    with pytest.raises(Interrupted):
        train(tiny, tokens, tmp_path / "broken", device="cpu", progress=Alarm(15, 7))
    ends = [train(tiny, tokens, tmp_path / name, device="cpu") for name in ("broken", "straight")]
    first, second = ((end / "model.safetensors").read_bytes() for end in ends)
    assert first == second
