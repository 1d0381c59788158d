"""A step on a GPU without gaps between its kernels: compiled, and recorded once as a CUDA graph."""

import gc
import os
import shutil
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from aurelius.errors import first_line

WARMUP_STEPS = 3  # before recording, as PyTorch's notes on CUDA graphs recommend

Update = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def compile_on_cuda(function: Callable, device: torch.device) -> Callable:
    """Compile ``function`` if everything needed is there: CUDA, Triton, and a C compiler for its launcher."""
    if device.type != "cuda" or not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        return function
    from torch.utils._triton import has_triton

    return torch.compile(function, dynamic=False) if has_triton() else function


class GraphedUpdate:
    """A step's update, recorded at the first call and replayed from then on.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    def __init__(self, update: Update, state: Callable[[], list[Tensor]]):
        """Record ``update``, which changes the tensors that ``state`` returns."""
        self.update, self.state = update, state
        self.graph: torch.cuda.CUDAGraph | None = None
        self.failed = False
        self.static_inputs: tuple[Tensor, ...] = ()
        self.static_outputs: tuple[Tensor, Tensor]

    def __call__(self, inputs: Tensor, targets: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Do one update; return the loss and the gradient norm."""
        arguments = (inputs, targets, count)
        if self.graph is None and not self.failed:
            self._record(arguments)
        if self.graph is None:
            return self.update(*arguments)
        for static, value in zip(self.static_inputs, arguments, strict=True):
            static.copy_(value)
        self.graph.replay()
        loss, norm = self.static_outputs
        return loss.clone(), norm.clone()

    def invalidate(self) -> None:
        """Record again at the next call, because the tensors of the state were replaced."""
        self.graph = None

    def _record(self, arguments: tuple[Tensor, Tensor, Tensor]) -> None:
        self.static_inputs = tuple(value.clone() for value in arguments)
        before = [tensor.clone() for tensor in self.state()]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                for _ in range(WARMUP_STEPS):
                    self.update(*self.static_inputs)
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
                self.static_outputs = self.update(*self.static_inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.failed = True
            warnings.warn(f"the step is not recorded as a CUDA graph: {first_line(error)}", stacklevel=2)
            return
        self.graph = graph
