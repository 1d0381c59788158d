"""A step on a GPU without gaps between its kernels: compiled, and recorded once as a CUDA graph."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM = 3  # steps before the recording, as PyTorch's notes on CUDA graphs ask for

Update = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def compiled(function: Callable, device: torch.device) -> Callable:
    """Compile ``function`` where that needs nothing more than is there: on CUDA, with Triton."""
    if device.type != "cuda":
        return function
    from torch.utils._triton import has_triton

    return torch.compile(function) if has_triton() else function


class Captured:
    """A step's update, recorded at the first call and replayed from then on.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    def __init__(self, update: Update, state: Callable[[], list[Tensor]]):
        """Record ``update``, which changes the tensors that ``state`` returns."""
        self.update, self.state = update, state
        self.graph: torch.cuda.CUDAGraph | None = None
        self.given: tuple[Tensor, ...] = ()
        self.found: tuple[Tensor, Tensor]

    def __call__(self, inputs: Tensor, targets: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Do one update; return loss and gradient norm."""
        given = (inputs, targets, count)
        if self.graph is None:
            self._record(given)
        assert self.graph is not None
        for static, value in zip(self.given, given, strict=True):
            static.copy_(value)
        self.graph.replay()
        loss, norm = self.found
        return loss.clone(), norm.clone()

    def _record(self, given: tuple[Tensor, Tensor, Tensor]) -> None:
        self.given = tuple(value.clone() for value in given)
        before = [tensor.clone() for tensor in self.state()]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM):
                self.update(*self.given)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.found = self.update(*self.given)
        # The warm-up trained; undo it. What it created (an optimizer's averages) began at zero.
        after = self.state()
        for tensor, old in zip(after, before, strict=False):
            tensor.copy_(old)
        for created in after[len(before) :]:
            created.zero_()
        self.graph = graph
