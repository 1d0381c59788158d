"""What this machine offers, for ``aurelius doctor`` and for bug reports."""

import os
import platform
import shutil
import time
from pathlib import Path

import torch

from aurelius import device as devices
from aurelius.versions import versions

SIZE = 1024  # of the matrices that are multiplied


def findings() -> list[tuple[str, str]]:
    """Return pairs of (what, finding), all measured now."""
    device = devices.pick()
    speed = f"{gigaflops(device):.0f} GFLOP/s in float32 products"
    free = shutil.disk_usage(Path.cwd()).free
    found = [(name, text) for name, text in versions().items()]
    found += [
        ("system", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
        ("threads", f"{torch.get_num_threads()} used by PyTorch"),
        ("memory", _memory()),
        ("disk", f"{free / 2**30:.0f} GiB free in this folder"),
        ("device", f"{device} ({devices.name_of(device)}), {speed}"),
    ]
    return found


def gigaflops(device: torch.device) -> float:
    """Measure float32 matrix products of 1024 x 1024 (10^9 operations a second), the best of five."""
    a = torch.randn(SIZE, SIZE, device=device)
    best = float("inf")
    for _ in range(6):  # the first warms up
        started = time.perf_counter()
        (a @ a).sum().item()
        best = min(best, time.perf_counter() - started)
    return 2 * SIZE**3 / best / 1e9


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "unknown"
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
