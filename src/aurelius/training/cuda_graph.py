"""A step on a GPU without gaps between its kernels: compiled, and recorded once as a CUDA graph."""

import gc
import os
import shutil
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from aurelius.errors import first_line

WARM = 3  # steps before the recording, as PyTorch's notes on CUDA graphs ask for

Update = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def compiled(function: Callable, device: torch.device) -> Callable:
    """Compile ``function`` where all that takes is there: CUDA, Triton, and a C compiler for its launcher."""
    if device.type != "cuda" or not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        return function
    from torch.utils._triton import has_triton

    return torch.compile(function, dynamic=False) if has_triton() else function


class Captured:
    """A step's update, recorded at the first call and replayed from then on.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    def __init__(self, update: Update, state: Callable[[], list[Tensor]]):
        """Record ``update``, which changes the tensors that ``state`` returns."""
        self.update, self.state = update, state
        self.graph: torch.cuda.CUDAGraph | None = None
        self.refused = False
        self.given: tuple[Tensor, ...] = ()
        self.found: tuple[Tensor, Tensor]

    def __call__(self, inputs: Tensor, targets: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Do one update; return loss and gradient norm."""
        given = (inputs, targets, count)
        if self.graph is None and not self.refused:
            self._record(given)
        if self.graph is None:
            return self.update(*given)
        for static, value in zip(self.given, given, strict=True):
            static.copy_(value)
        self.graph.replay()
        loss, norm = self.found
        return loss.clone(), norm.clone()

    def forget(self) -> None:
        """Record anew at the next call, when the tensors of the state are others."""
        self.graph = None

    def _record(self, given: tuple[Tensor, Tensor, Tensor]) -> None:
        self.given = tuple(value.clone() for value in given)
        before = [tensor.clone() for tensor in self.state()]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                for _ in range(WARM):
                    self.update(*self.given)
        finally:
            torch.cuda.current_stream().wait_stream(stream)
            # The warm-up trained; undo it. What it created (an optimizer's averages) began at zero.
            after = self.state()
            for tensor, old in zip(after, before, strict=False):
                tensor.copy_(old)
            for created in after[len(before) :]:
                created.zero_()
        gc.collect()  # nothing of the warm-up's backward pass may be freed while recording
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=stream):
                self.found = self.update(*self.given)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.refused = True
            warnings.warn(f"the step is not recorded as a CUDA graph: {first_line(error)}", stacklevel=2)
            return
        self.graph = graph
