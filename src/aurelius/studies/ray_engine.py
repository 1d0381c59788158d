"""The trials of a study on a Ray cluster, whose machines share the folder of the runs.

Ray starts a trial again if its worker dies, and the trial goes on from its last checkpoint.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from aurelius.errors import AureliusError, CompareError, RunError, first_line
from aurelius.studies.engines import POLL, Outcome
from aurelius.studies.worker import Work, do

RETRIES = 3  # of a trial whose worker died


def on_ray(works: Sequence[Work], jobs: int, look: Callable[[], None]) -> Iterator[Outcome]:
    """Do trials on the Ray cluster of ``RAY_ADDRESS``, or on one started here with ``jobs`` workers.

    Each trial asks for one core, and on GPUs for one of ``jobs`` shares of one. On a cluster, Ray decides
    how many run at once.

    Yields:
        Each work with its record, or with the error that ended it, as soon as it has ended.

    Raises:
        CompareError: the cluster cannot be reached.
    """
    import ray

    ours = not ray.is_initialized()
    if ours:
        _connect(ray, jobs)
    try:
        gpu = ray.cluster_resources().get("GPU", 0) if works[0].device != "cpu" else 0
        trial = ray.remote(num_cpus=1, num_gpus=1 / jobs if gpu else 0, max_retries=RETRIES)(_do)
        running: dict[Any, Work] = {trial.remote(work): work for work in works}
        while running:
            ended, _ = ray.wait(list(running), num_returns=1, timeout=POLL)
            look()
            for reference in ended:
                yield running.pop(reference), _outcome(ray, reference)
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, jobs: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if os.environ.get("RAY_ADDRESS"):
            ray.init(**quiet)
        else:
            ray.init(num_cpus=jobs, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, OSError) as error:
        raise CompareError(f"the Ray cluster cannot be used: {first_line(error)}") from None


def _do(work: Work) -> Any:
    """Do a trial in a worker of Ray; a deliberate error is a result, so that it is not tried again."""
    import torch

    torch.set_num_threads(1)
    try:
        return do(work)
    except AureliusError as error:
        return error


def _outcome(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return RunError(f"its Ray worker was lost {RETRIES + 1} times ({first_line(error)})")
