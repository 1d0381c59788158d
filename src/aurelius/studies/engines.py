"""Where the trials of a study run: processes of this machine, or a Ray cluster.

An engine is a function from work to an iterator of what became of it, in any order. To add one, write it and
add it to ENGINES.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from aurelius.errors import AureliusError, CompareError, RunError
from aurelius.studies import worker
from aurelius.studies.results import Record
from aurelius.studies.worker import Work

POLL = 1.0  # seconds between looks at how far the trials are
PATIENCE = 60.0  # seconds in which a stopped training saves its checkpoint
ON_ONE_GPU = 8  # trials at once: one of a tiny model leaves most of a large card idle

Outcome = tuple[Work, Record | AureliusError]
Engine = Callable[[Sequence[Work], int, Callable[[], None]], Iterator[Outcome]]


def local(works: Sequence[Work], jobs: int, look: Callable[[], None]) -> Iterator[Outcome]:
    """Do ``jobs`` trials at once in processes of this machine, which share its cores.

    Args:
        works: what to do, in this order.
        jobs: processes; each has its share of the cores as threads.
        look: is called every second, to show progress.

    Yields:
        Each work with its record, or with the error that ended it, as soon as it has ended.
    """
    jobs, waiting = min(jobs, len(works)), list(works)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    running: dict[Connection, tuple[BaseProcess, Work]] = {}
    try:
        for _ in range(jobs):
            pipe, process = _start(threads)
            running[pipe] = process, waiting[0]
            pipe.send(waiting.pop(0))
        while running:
            ended = wait(list(running), POLL)
            look()
            for pipe in ended:
                assert isinstance(pipe, Connection)
                process, work = running.pop(pipe)
                try:
                    outcome = pipe.recv()
                except (EOFError, OSError):
                    outcome = _killed(process)
                    pipe.close()
                if waiting:
                    if pipe.closed:
                        pipe, process = _start(threads)
                    running[pipe] = process, waiting[0]
                    pipe.send(waiting.pop(0))
                elif not pipe.closed:
                    pipe.close()
                yield work, outcome
    finally:
        for pipe, (process, _) in running.items():
            process.terminate()  # a training saves a checkpoint first
            pipe.close()
        for process, _ in running.values():
            process.join(PATIENCE)
            process.kill()


def _start(threads: int) -> tuple[Connection, BaseProcess]:
    # Spawn rather than fork: a forked child would inherit PyTorch's threads and the CUDA context.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=worker.serve, args=(theirs, threads), daemon=False)
    process.start()
    theirs.close()
    return ours, process


def _killed(process: BaseProcess) -> RunError:
    process.join(PATIENCE)
    return RunError(
        f"its process ended with code {process.exitcode}, perhaps because memory ran out; run the same "
        "command to go on. --jobs 1 takes the least memory"
    )


def usual_jobs(device: str) -> int:
    """Return how many trials run at once by default.

    On CPUs one per core: a training with one thread does more per core than one with several. On a GPU
    several, on Apple's one.
    """
    from aurelius.device import pick

    cores = os.cpu_count() or 1
    return {"cpu": cores, "cuda": min(ON_ONE_GPU, cores)}.get(pick(device).type, 1)


ENGINES = {"local": "engines:local", "ray": "ray_engine:on_ray"}


def open_engine(name: str) -> Engine:
    """Return an engine.

    Raises:
        CompareError: there is no such engine, or its package is not installed.
    """
    if name not in ENGINES:
        raise CompareError(f"there is no engine '{name}'; choose from {', '.join(ENGINES)}")
    if name == "ray" and find_spec("ray") is None:
        raise CompareError("the engine ray needs a package: pip install 'aurelius-lm[ray]'")
    module, function = ENGINES[name].split(":")
    return getattr(import_module(f"aurelius.studies.{module}"), function)
