"""How optimizers work on a particular machine."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aurelius.training.cpu_step.engine import CpuStep


@dataclass(frozen=True)
class StepOptions:
    """What depends on the machine.

    ``capturable`` for steps that are recorded as a CUDA graph; ``cpu`` updates matrices in compiled code;
    ``bf16`` if the machine multiplies it fast.
    """

    capturable: bool = False
    cpu: "CpuStep | None" = None
    bf16: bool = False
