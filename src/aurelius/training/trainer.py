"""One training step after another; nothing here knows about files of a run."""

import gc
import inspect
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from aurelius import device as devices
from aurelius.config.recipe import Recipe
from aurelius.data.blocks import Blocks
from aurelius.data.device_blocks import DeviceBlocks
from aurelius.errors import MemoryExhausted, ModelError, RecipeError, first_line
from aurelius.model.hf_folder import LlamaFolder
from aurelius.model.llama import Llama
from aurelius.special_tokens import IGNORE_INDEX
from aurelius.training.cuda_graph import GraphedUpdate, compile_on_cuda
from aurelius.training.distributed import World
from aurelius.training.engines import AUTOGRAD, COMPILED, compiled_step
from aurelius.training.optim import registry as optimizers
from aurelius.training.optim.options import StepOptions
from aurelius.training.schedule import Schedule

FRACTION_FOR_STEP = 0.8  # of a GPU's memory, when micro-batches are sized; the rest is for everything else


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
        graphed: bool = True,
        bf16: bool | None = None,
    ):
        """Set up a training at step 0.

        Args:
            recipe: its ``[model]``, ``[training]`` and ``[optimizer]`` are used, and
            ``tokenizer.vocab_size``. blocks: the training data. device: where to train. world: the processes
            that train together. graphed: on a single GPU, compile the step and record it as a CUDA graph.
            bf16: matrix products in bf16; by default on CUDA.
        """
        self.recipe, self.device, self.world = recipe.training, device, world or World(single=True)
        if self.recipe.batch % self.world.size:
            raise RecipeError(
                f"{self.world.size} processes cannot share training.batch {self.recipe.batch} evenly; "
                "start a different number of them, or change the batch"
            )
        self.share = self.recipe.batch // self.world.size
        self.micro_batches = micro_batches(self.recipe.accumulate, self.share, self.world.size)
        self.begin = blocks.store.special.begin if self.recipe.attention == "story" else None
        self.data = DeviceBlocks(blocks, device)
        with devices.memory_errors(f"The model has {recipe.parameters:,} parameters: make it smaller"):
            self.model = Llama(recipe.model, recipe.tokenizer.vocab_size)
            self.model.initialise(self.recipe.seed)
            self.model.to(device)
        self.bf16 = device.type == "cuda" if bf16 is None else bf16
        graphed = graphed and device.type == "cuda" and self.world.size == 1
        self.cpu, self.fallback = None, ""  # the compiled step, or why it cannot be used
        if device.type == "cpu" and self.recipe.engine == "auto":
            # There is no more work than stories; a block seldom has more than two.
            with devices.memory_errors("Make the model or its context smaller"):
                step = compiled_step(self.model, min(torch.get_num_threads(), 2 * self.share))
            self.cpu, self.fallback = (None, step) if isinstance(step, str) else (step, "")
        options = StepOptions(graphed, self.cpu, self.bf16)
        self.optimizers = optimizers.build(self.model, recipe.optimizer, options)
        self.done = 0  # steps
        self.schedule = Schedule(self.recipe)
        if graphed:
            self._loss = compile_on_cuda(self.model.loss, device)
        elif self.cpu or self.world.size == 1:
            self._loss = self.model.loss
        else:
            self._loss = _distributed_loss(self.model, device)
        self._update = GraphedUpdate(self._eager_update, self._state) if graphed else self._eager_update

    @property
    def engine(self) -> str:
        """What computes the gradients, as recorded in checkpoints."""
        return COMPILED if self.cpu else AUTOGRAD

    def load_weights(self, path: Path) -> None:
        """Start from the weights of a Hugging Face folder.

        Raises:
            ModelError, RunError, TokenizerError: see `LlamaFolder.read`; or its shape is not the recipe's.
        """
        folder = LlamaFolder.read(path)
        if (folder.shape, folder.vocab_size) != (self.model.shape, self.model.vocab_size):
            raise ModelError(f"{path} has another shape than the recipe; training cannot start from it")
        self.model.load_state_dict({name: torch.from_numpy(value) for name, value in folder.weights.items()})

    def step(self) -> tuple[Tensor, Tensor]:
        """Train on the next ``batch`` blocks; return the loss (nats per token) and the gradient norm.

        Both stay on the device, so that a GPU need not be waited for; a norm that is not finite means that
        the weights are ruined.

        Raises:
            MemoryExhausted: the batch does not fit in memory; the message says what to change.
        """
        optimizers.set_learning_rate(self.optimizers, self.schedule.share(self.done))
        try:
            with devices.memory_errors(""), self._idle_torch_threads():
                inputs, targets = self.data.batch(self.done * self.recipe.batch, self.recipe.batch)
                count = (targets != IGNORE_INDEX).sum().clamp(min=1)
                own = slice(self.world.rank * self.share, (self.world.rank + 1) * self.share)
                figures = self._update(inputs[own], targets[own], count)
        except MemoryExhausted as error:
            problem = str(error)
        else:
            self.done += 1
            return figures
        # Outside the handler, which would keep alive what the step had in memory.
        raise MemoryExhausted(f"{problem}{self._memory_advice()}")

    def _idle_torch_threads(self):
        return self.cpu.threads.without_torch_threads() if self.cpu else nullcontext()

    def _memory_advice(self) -> str:
        """Say which micro-batches would fit in memory after a step did not."""
        # Several processes cannot try it out together: not all of them failed.
        number = "=N" if self.world.size > 1 else f"={self.shrink_micro_batches()}, which fits"
        return (
            f"The step's {self.recipe.batch} sequences need less memory, and train the same, in more "
            f"micro-batches than the present {self.recipe.accumulate}: --set training.accumulate{number}, "
            "or --auto-batch"
        )

    def _eager_update(self, inputs: Tensor, targets: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        loss = self._accumulate_gradients(inputs, targets, count)
        limit = self.recipe.gradient_clip or float("inf")
        parameters = self.cpu.flat if self.cpu else self.model.parameters()
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return self.world.sum(loss), norm

    def _accumulate_gradients(
        self, inputs: Tensor, targets: Tensor, count: Tensor, synchronise: bool = True
    ) -> Tensor:
        """Add up the gradients of this process's blocks; return their part of the loss.

        With ``synchronise`` those of the other processes are added, too.
        """
        if self.cpu:
            loss = self.cpu.gradients(inputs, targets, self.begin, 1 / int(count))
            if synchronise:
                self.world.sum(self.cpu.gradient)
            return torch.tensor(loss) / count
        loss = torch.zeros((), device=self.device)
        last = self.micro_batches - 1 if synchronise else None
        chunks = zip(inputs.chunk(self.micro_batches), targets.chunk(self.micro_batches), strict=True)
        for number, (ids, wanted) in enumerate(chunks):
            if isinstance(self._loss, DistributedDataParallel):
                self._loss.require_backward_grad_sync = number == last
            with devices.precision(self.device, self.bf16):
                part = self._loss(ids, wanted, self.begin) / count
            # DistributedDataParallel averages the gradients, but their sum is needed.
            (part * self.world.size).backward()
            loss += part.detach()
        return loss

    def shrink_micro_batches(self) -> int:
        """Split steps into more micro-batches until one fits in memory; return ``accumulate``.

        Raises:
            MemoryExhausted: not even the smallest micro-batches fit.
        """
        while problem := self._try_gradients():
            # By now the handler has let go of the failed attempt's tensors; reference cycles have not.
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if self.micro_batches == self.share:
                raise MemoryExhausted(problem)
            self.micro_batches = _divisor_from(self.micro_batches + 1, self.share)
        self.micro_batches = self.world.highest(self.micro_batches)
        return self.micro_batches * self.world.size

    def _try_gradients(self) -> str | None:
        """Compute the gradients of this process's share once; return what the memory refused, if anything."""
        try:
            if self.device.type == "cuda":
                torch.cuda.set_per_process_memory_fraction(FRACTION_FOR_STEP)
            with devices.memory_errors(
                "Even the smallest micro-batches are too much: make the model smaller"
            ):
                inputs, targets = self.data.batch(0, self.share)
                count = torch.ones((), device=self.device)
                self._accumulate_gradients(inputs, targets, count, synchronise=False)
        except MemoryExhausted as error:
            return str(error)
        finally:
            if self.device.type == "cuda":
                torch.cuda.set_per_process_memory_fraction(1.0)
            for optimizer in self.optimizers:
                optimizer.zero_grad()
        return None

    def logits(self, ids: Tensor) -> Tensor:
        """Map ids [B, T] to float32 logits [B, T, V], for validation."""
        return self.model(ids.to(self.device), begin=self.begin)

    def state_tensors(self) -> dict[str, Tensor]:
        """Return everything except weights that the next step depends on, as tensors on the CPU."""
        tensors = optimizers.state_tensors(self.model, self.optimizers)
        tensors["/rng_cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["/rng_cuda"] = torch.cuda.get_rng_state(self.device)
        return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

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
            if isinstance(self._update, GraphedUpdate):
                self._update.invalidate()
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"the checkpoint of step {done} does not fit: {first_line(error)}") from None
        self.done = done

    def _state(self) -> list[Tensor]:
        """Return the tensors that a step changes."""
        state = optimizers.state_tensors(self.model, self.optimizers)
        return [*(p.detach() for p in self.model.parameters()), *state.values()]


class _LossModule(nn.Module):
    """A module whose forward pass is the loss, which `DistributedDataParallel` can wrap."""

    def __init__(self, model: Llama):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, targets: Tensor, begin: int | None) -> Tensor:
        return self.model.loss(ids, targets, begin)


def _distributed_loss(model: Llama, device: torch.device) -> DistributedDataParallel:
    # The only buffer, the table of the rotary embedding, never changes. PyTorch 2.13 renamed the option.
    parameters = inspect.signature(DistributedDataParallel).parameters
    option = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
    options: dict[str, Any] = {option: False}
    return DistributedDataParallel(
        _LossModule(model),
        device_ids=[device.index] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **options,
    )


def micro_batches(accumulate: int, share: int, processes: int) -> int:
    """Return how many micro-batches a process splits its share of a step into.

    With accumulate 4 and two processes, each splits its share in two.
    """
    return _divisor_from(-(-accumulate // processes), share)


def _divisor_from(least: int, share: int) -> int:
    """Return the smallest divisor of ``share`` that is at least ``least``."""
    return next(n for n in range(min(least, share), share + 1) if share % n == 0)
