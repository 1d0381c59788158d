"""Building a recipe's optimizers, and what training does with any of them: learning rates and checkpoints."""

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from aurelius.config.optimizers import OptimizerSettings
from aurelius.model.llama import Llama
from aurelius.training.optim.options import StepOptions


def build(
    model: Llama, settings: OptimizerSettings, options: StepOptions | None = None
) -> list[torch.optim.Optimizer]:
    """Return the optimizers of ``model``'s parameters; each group keeps its peak learning rate as ``peak``.

    If steps are captured, learning rates are tensors, which a replay reads.
    """
    options = options or StepOptions()
    module = import_module(f"aurelius.training.optim.{settings.name}")
    optimizers: list[torch.optim.Optimizer] = module.build(model, settings, options)
    for group in groups(optimizers):
        group["peak"] = group["lr"]
        if options.capturable:
            group["lr"] = torch.tensor(group["peak"], device=model.model.embed_tokens.weight.device)
    return optimizers


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], share: float) -> None:
    """Set the learning rate of every group to ``share`` of its peak."""
    for group in groups(optimizers):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(group["peak"] * share)
        else:
            group["lr"] = group["peak"] * share


def groups(optimizers: Iterable[torch.optim.Optimizer]) -> Iterator[dict[str, Any]]:
    """Yield the parameter groups of all optimizers."""
    for optimizer in optimizers:
        yield from optimizer.param_groups


def state_tensors(model: Llama, optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Return the optimizers' state by ``parameter name/key``."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    return {
        f"{names[p]}/{key}": value
        for optimizer in optimizers
        for p, state in optimizer.state.items()
        for key, value in state.items()
    }


def load_state_tensors(
    model: Llama, optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]
) -> None:
    """Restore what `state_tensors` returned."""
    parameters = dict(model.named_parameters())
    owner = {p: o for o in optimizers for group in o.param_groups for p in group["params"]}
    for name, tensor in tensors.items():
        parameter_name, key = name.rsplit("/", 1)
        parameter = parameters[parameter_name]
        owner[parameter].state[parameter][key] = tensor.to(parameter.device)
