"""How optimizers are to work on this machine."""

from dataclasses import dataclass

from aurelius.training.cpu_threads import Workers


@dataclass(frozen=True)
class How:
    """What the machine decides.

    ``capturable`` for steps recorded as a CUDA graph; ``workers`` to share work among CPU threads; ``bf16``
    where products in it are fast.
    """

    capturable: bool = False
    workers: Workers | None = None
    bf16: bool = False
