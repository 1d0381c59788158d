"""One step of training after another; nothing here knows of files."""

from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from aurelius import device as devices
from aurelius.config.recipe import Recipe
from aurelius.data.blocks import Blocks
from aurelius.data.device_blocks import DeviceBlocks
from aurelius.errors import (
    MemoryExhausted,
    ModelError,
    RecipeError,
    first_line,
)
from aurelius.model.hf_folder import LlamaFolder
from aurelius.model.llama import Llama
from aurelius.special_tokens import IGNORE_INDEX
from aurelius.training.cpu_threads import Workers
from aurelius.training.cuda_graph import Captured, compiled
from aurelius.training.distributed import World
from aurelius.training.optim import registry as optimizers
from aurelius.training.optim.how import How
from aurelius.training.schedule import rate


class Trainer:
    """Model, optimizers and data at one step of a training.

    Each process of ``world`` trains on its share of a step's blocks; which blocks a step has does not depend
    on the number of processes.
    """

    def __init__(
        self,
        recipe: Recipe,
        blocks: Blocks,
        device: torch.device,
        world: World | None = None,
        recorded: bool = True,
        bf16: bool | None = None,
    ):
        """Begin a training.

        Args:
            recipe: its ``[model]`` and ``[training]`` are read, and ``tokenizer.vocab_size``.
            blocks: what to train on.
            device: where.
            world: the processes that train together.
            recorded: compile the step and record it as a CUDA graph, on one GPU that no process shares.
            bf16: matrix products in bf16; by default on CUDA.
        """
        self.recipe, self.device, self.world = recipe.training, device, world or World(alone=True)
        if self.recipe.batch % self.world.size:
            raise RecipeError(
                f"{self.world.size} processes cannot share training.batch {self.recipe.batch} evenly; "
                "start another number of them, or change the batch"
            )
        self.share = self.recipe.batch // self.world.size
        self.pieces = pieces(self.recipe.accumulate, self.share, self.world.size)
        self.begin = blocks.store.special.begin if self.recipe.attention == "story" else None
        self.feed = DeviceBlocks(blocks, device)
        with devices.memory_errors(f"The model has {recipe.parameters:,} parameters: make it smaller"):
            self.model = Llama(recipe.model, recipe.tokenizer.vocab_size)
            self.model.initialise(self.recipe.seed)
            self.model.to(device)
        self.bf16 = device.type == "cuda" if bf16 is None else bf16
        recorded = recorded and device.type == "cuda" and self.world.size == 1
        count = min(torch.get_num_threads(), self.share)
        shared = device.type == "cpu" and self.world.size == 1 and count > 1
        self.workers = Workers(count) if shared else None
        self.optimizers = optimizers.build(self.model, self.recipe, How(recorded, self.workers, self.bf16))
        self.done = 0  # steps
        self._loss = (
            compiled(self.model.loss, device) if recorded else _shared(self.model, device, self.world)
        )
        self._update = Captured(self._plain_update, self._state) if recorded else self._plain_update

    def begin_with(self, path: Path) -> None:
        """Take the weights of a Hugging Face folder.

        Raises:
            ModelError, RunError, TokenizerError: see `LlamaFolder.read`; its shape is not the recipe's.
        """
        found = LlamaFolder.read(path)
        if (found.shape, found.vocab_size) != (self.model.shape, self.model.vocab_size):
            raise ModelError(f"{path} (training.start) has another shape than the recipe")
        self.model.load_state_dict({name: torch.from_numpy(value) for name, value in found.weights.items()})

    def step(self) -> tuple[Tensor, Tensor]:
        """Train on the next ``batch`` blocks; return the loss (nats a token) and the gradient's norm.

        Both stay on the device, so that a GPU need not be waited for; a norm that is not finite means that
        the weights are spoilt.

        Raises:
            MemoryExhausted: the batch does not fit; the message says what to change.
        """
        optimizers.set_rate(self.optimizers, rate(self.done, self.recipe))
        try:
            with devices.memory_errors(""), self.workers.alone() if self.workers else nullcontext():
                inputs, targets = self.feed.batch(self.done * self.recipe.batch, self.recipe.batch)
                count = (targets != IGNORE_INDEX).sum().clamp(min=1)
                mine = slice(self.world.rank * self.share, (self.world.rank + 1) * self.share)
                found = self._update(inputs[mine], targets[mine], count)
        except MemoryExhausted as error:
            problem = str(error)
        else:
            self.done += 1
            return found
        # Not where the error is handled, which holds on to what the step had in memory.
        raise MemoryExhausted(f"{problem}{self._advice()}")

    def _advice(self) -> str:
        """Say what would fit a memory that a step did not."""
        # Several processes cannot try it out together: not all of them are here.
        number = "=N" if self.world.size > 1 else f"={self.fit()}, which fits"
        return (
            f"The step's {self.recipe.batch} blocks need less, and train the same, in more pieces than the "
            f"{self.recipe.accumulate} of now: --set training.accumulate{number}, or --auto-batch"
        )

    def _plain_update(self, inputs: Tensor, targets: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        loss = self._gradients(inputs, targets, count)
        limit = self.recipe.clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return self.world.sum(loss), norm

    def _gradients(self, inputs: Tensor, targets: Tensor, count: Tensor, share: bool = True) -> Tensor:
        """Add up the gradients of this process's blocks; return their part of the loss.

        With ``share`` the last piece adds those of the other processes.
        """
        if self.workers:
            return self._gradients_by_workers(inputs, targets, count, self.workers)
        loss = torch.zeros((), device=self.device)
        last = self.pieces - 1 if share else None
        for number, (ids, wanted) in enumerate(
            zip(inputs.chunk(self.pieces), targets.chunk(self.pieces), strict=True)
        ):
            if isinstance(self._loss, DistributedDataParallel):
                self._loss.require_backward_grad_sync = number == last
            with devices.precision(self.device, self.bf16):
                part = self._loss(ids, wanted, self.begin) / count
            # The processes' gradients are averaged, and their sum is wanted.
            (part * self.world.size).backward()
            loss += part.detach()
        return loss

    def _gradients_by_workers(
        self, inputs: Tensor, targets: Tensor, count: Tensor, workers: Workers
    ) -> Tensor:
        """Do the same with workers, who take a part of a piece each.

        What they find is added up in the order of the blocks, so every run has the same sums.
        """
        parameters = list(self.model.parameters())

        def part(ids: Tensor, wanted: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            loss = self.model.loss(ids, wanted, self.begin) / count
            return loss.detach(), torch.autograd.grad(loss, parameters)

        parts = min(self.pieces * workers.count, len(inputs))
        loss = torch.zeros(())
        each = workers.map(part, inputs.tensor_split(parts), targets.tensor_split(parts))
        for part_loss, gradients in each:
            loss += part_loss
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        return loss

    def fit(self) -> int:
        """Raise ``accumulate`` until a step's pieces fit the memory, and return it; nothing is trained.

        Raises:
            MemoryExhausted: not even the smallest pieces fit.
        """
        while not self._fits():
            self.pieces = _at_least(self.pieces + 1, self.share)
        self.pieces = self.world.highest(self.pieces)
        return self.pieces * self.world.size

    def _fits(self) -> bool:
        """Try the gradients of this process's share, with a fifth of a GPU's memory left for the rest."""
        try:
            if self.device.type == "cuda":
                torch.cuda.set_per_process_memory_fraction(0.8)
            with devices.memory_errors("Even the smallest pieces are too much: make the model smaller"):
                inputs, targets = self.feed.batch(0, self.share)
                self._gradients(inputs, targets, torch.ones((), device=self.device), share=False)
        except MemoryExhausted:
            if self.pieces == self.share:
                raise
            return False
        finally:
            if self.device.type == "cuda":
                torch.cuda.set_per_process_memory_fraction(1.0)
            for optimizer in self.optimizers:
                optimizer.zero_grad()
        return True

    def logits(self, ids: Tensor) -> Tensor:
        """Map ids [B, T] to float32 logits [B, T, V], for validation."""
        return self.model(ids.to(self.device), begin=self.begin)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything beside weights that the next step depends on, as tensors."""
        found = optimizers.state_tensors(self.model, self.optimizers)
        found["/rng_cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            found["/rng_cuda"] = torch.cuda.get_rng_state(self.device)
        return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}

    def restore(self, weights: dict[str, Tensor], tensors: dict[str, Tensor], done: int) -> None:
        """Continue from a checkpoint after ``done`` steps.

        Raises:
            ModelError: the tensors are not those of this model and its optimizers.
        """
        tensors = dict(tensors)
        try:
            self.model.load_state_dict(weights)
            torch.set_rng_state(tensors.pop("/rng_cpu"))
            cuda = tensors.pop("/rng_cuda", None)
            if cuda is not None and self.device.type == "cuda":
                torch.cuda.set_rng_state(cuda, self.device)
            optimizers.load_state_tensors(self.model, self.optimizers, tensors)
            if isinstance(self._update, Captured):
                self._update.forget()
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"the checkpoint of step {done} does not fit: {first_line(error)}") from None
        self.done = done

    def _state(self) -> list[Tensor]:
        """Return the tensors that a step changes."""
        state = optimizers.state_tensors(self.model, self.optimizers)
        return [*(p.detach() for p in self.model.parameters()), *state.values()]


class _Loss(nn.Module):
    """What `DistributedDataParallel` can wrap: a module whose forward is the loss."""

    def __init__(self, model: Llama):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, targets: Tensor, begin: int | None) -> Tensor:
        return self.model.loss(ids, targets, begin)


def _shared(model: Llama, device: torch.device, world: World):
    if world.size == 1:
        return model.loss
    module = _Loss(model)
    # The table of the rotary embedding never changes; DDP would send it round at every step.
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, ["model.rope"])
    return DistributedDataParallel(
        module, device_ids=[device.index] if device.type == "cuda" else None, gradient_as_bucket_view=True
    )


def pieces(accumulate: int, share: int, processes: int) -> int:
    """Return how many micro-batches a process cuts its share of a step's blocks into.

    With accumulate 4 and two processes each cuts its share in two.
    """
    return _at_least(-(-accumulate // processes), share)


def _at_least(pieces: int, share: int) -> int:
    """Return the smallest divisor of ``share`` that is ``pieces`` or more."""
    return next(n for n in range(min(pieces, share), share + 1) if share % n == 0)
