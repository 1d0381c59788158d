"""How optimizers work on a particular machine."""

from dataclasses import dataclass

from aurelius.training.cpu_threads import ThreadTeam


@dataclass(frozen=True)
class StepOptions:
    """What depends on the machine.

    ``capturable`` for steps that are recorded as a CUDA graph; ``threads`` to share work on a CPU; ``bf16``
    if its matrix products are fast.
    """

    capturable: bool = False
    threads: ThreadTeam | None = None
    bf16: bool = False
