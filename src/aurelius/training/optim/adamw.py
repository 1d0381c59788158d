"""AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) for all parameters: PyTorch's own."""

from collections.abc import Mapping

import torch
from torch import Tensor

from aurelius.config.sections import TrainingRecipe
from aurelius.model.llama import Llama
from aurelius.training.optim.how import How


def build(model: Llama, recipe: TrainingRecipe, how: How) -> list[torch.optim.Optimizer]:
    """Return AdamW for every parameter."""
    return [of(dict(model.named_parameters()), recipe, how)]


def of(parameters: Mapping[str, Tensor], recipe: TrainingRecipe, how: How) -> torch.optim.Optimizer:
    """Return AdamW for some parameters; the norms do not decay."""
    groups = [
        {"params": [p for p in parameters.values() if p.ndim == 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters.values() if p.ndim == 1], "weight_decay": 0.0},
    ]
    fused = groups[0]["params"][0].device.type != "mps"
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW(groups, recipe.learning_rate, betas, fused=fused, capturable=how.capturable)
