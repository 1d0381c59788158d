"""AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) for all parameters: PyTorch's own."""

from collections.abc import Mapping

import torch
from torch import Tensor

from aurelius.config.optimizers import AdamWSettings
from aurelius.model.llama import Llama
from aurelius.training.optim.options import StepOptions


def build(model: Llama, settings: AdamWSettings, options: StepOptions) -> list[torch.optim.Optimizer]:
    """Return AdamW for every parameter."""
    parameters = dict(model.named_parameters())
    betas = (settings.beta1, settings.beta2)
    return [adamw(parameters, settings.learning_rate, betas, settings.weight_decay, options)]


def adamw(
    parameters: Mapping[str, Tensor],
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    options: StepOptions,
) -> torch.optim.Optimizer:
    """Return AdamW for some parameters; the norms do not decay."""
    groups = [
        {"params": [p for p in parameters.values() if p.ndim == 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters.values() if p.ndim == 1], "weight_decay": 0.0},
    ]
    fused = groups[0]["params"][0].device.type != "mps"
    return torch.optim.AdamW(groups, learning_rate, betas, fused=fused, capturable=options.capturable)
