"""Muon for the matrices, AdamW for the rest; or AdamW for all. And the rate they follow."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch import _foreach_add_ as add_  # pyright: ignore[reportPrivateImportUsage]
from torch import _foreach_lerp_ as lerp_  # pyright: ignore[reportPrivateImportUsage]
from torch import _foreach_mul_ as multiply_  # pyright: ignore[reportPrivateImportUsage]

from aurelius.config.sections import TrainingRecipe
from aurelius.model.llama import Llama
from aurelius.training.cpu_threads import Workers

STEPS = 5  # of the Newton-Schulz iteration
COEFFICIENTS = (3.4445, -4.775, 2.0315)  # K. Jordan 2024, https://kellerjordan.github.io/posts/muon/


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for matrices (Jordan 2024).

    The rule is that of `torch.optim.Muon`, for each head's matrix by itself where a group of parameters is
    ``cut`` into heads: how many lie one below the other and side by side. Ours orthogonalises matrices of a
    shape together, all of them or a part for each of the ``workers``, and off CUDA in float32: few CPUs
    multiply bf16 natively.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float,
        momentum: float,
        workers: Workers | None = None,
    ):
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "cut": (1, 1)}
        super().__init__(matrices, defaults)
        self.workers = workers

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update the parameters once."""
        parts: list[tuple[dict[str, Any], list[Tensor]]] = []
        for group in self.param_groups:
            matrices = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in matrices]
            for p in matrices:
                if not self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            averages = [self.state[p]["momentum_buffer"] for p in matrices]
            lerp_(averages, gradients, 1 - group["momentum"])
            lerp_(gradients, averages, group["momentum"])  # Nesterov's look ahead
            multiply_(matrices, 1 - group["lr"] * group["weight_decay"])
            for shape in dict.fromkeys(p.shape for p in matrices):
                alike = [p for p in matrices if p.shape == shape]
                size = -(-len(alike) // self.workers.count) if self.workers else len(alike)
                parts += [(group, alike[first : first + size]) for first in range(0, len(alike), size)]
        stacks = [torch.stack([p.grad for p in some]) for _, some in parts]  # pyright: ignore
        cuts = [group["cut"] for group, _ in parts]
        each = self.workers.map if self.workers else map
        for (group, some), updates in zip(parts, each(_orthogonal_heads, stacks, cuts), strict=True):
            updates *= -group["lr"] * max(1, updates.shape[1] / updates.shape[2]) ** 0.5
            add_(some, list(updates))


def _orthogonal_heads(matrices: Tensor, cut: tuple[int, int]) -> Tensor:
    """Make each head's part of matrices [N, R, C] orthogonal."""
    N, (down, across) = len(matrices), cut
    heads = matrices.unflatten(2, (across, -1)).unflatten(1, (down, -1)).transpose(2, 3).flatten(0, 2)
    return orthogonal(heads).unflatten(0, (N, down, across)).transpose(2, 3).flatten(3).flatten(1, 2)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return about U Vᵀ of each matrix's singular value decomposition, [N, R, C].

    The quintic Newton-Schulz iteration; singular values end between about 0.7 and 1.2. Source: Jordan 2024
    (see COEFFICIENTS).
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    if x.dtype == torch.bfloat16:
        x = x.mT if tall else x
        for _ in range(STEPS):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return (x.mT if tall else x).to(matrices.dtype)
    # The same on the smaller square Gram matrix alone, with one product by x at the end: a quarter less work.
    # It doubles the digits that are needed, which float32 has and bf16 has not.
    gram = x.mT @ x if tall else x @ x.mT
    total = gram
    for step in range(STEPS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        total = factor @ total if step else factor
        if step < STEPS - 1:
            gram = factor @ (gram @ factor)
    return x @ total if tall else total @ x


def build(
    model: Llama, recipe: TrainingRecipe, recorded: bool = False, workers: Workers | None = None
) -> list[torch.optim.Optimizer]:
    """Return the optimizers of ``model``'s parameters; each group remembers its peak rate as ``peak``.

    For steps that are ``recorded`` rates are tensors, which a replay reads; ``workers`` share Muon's work.
    """
    matrices = _matrices(model)
    norms = [p for p in model.parameters() if p.ndim == 1]
    embedding = model.model.embed_tokens.weight
    decay = recipe.weight_decay
    plain = [{"params": [embedding], "weight_decay": decay}, {"params": norms, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = []
    if recipe.optimizer == "muon":
        optimizers.append(Muon(matrices, recipe.muon_learning_rate, decay, recipe.momentum, workers))
    else:
        plain += [{"params": group["params"], "weight_decay": decay} for group in matrices]
    betas = (recipe.beta1, recipe.beta2)
    fused = embedding.device.type != "mps"
    optimizers.append(torch.optim.AdamW(plain, recipe.learning_rate, betas, fused=fused, capturable=recorded))
    for group in groups(optimizers):
        group["peak"] = group["lr"]
        if recorded:
            group["lr"] = torch.tensor(group["peak"], device=embedding.device)
    return optimizers


def _matrices(model: Llama) -> list[dict[str, Any]]:
    """Group the layers' matrices by the heads they consist of (see `Muon`)."""
    heads, kv_heads = model.shape.heads, model.shape.kv_heads
    cuts = {"q_proj": (heads, 1), "k_proj": (kv_heads, 1), "v_proj": (kv_heads, 1), "o_proj": (1, heads)}
    found: dict[tuple[int, int], list[Tensor]] = {}
    for name, parameter in model.model.layers.named_parameters():
        if parameter.ndim == 2:
            found.setdefault(cuts.get(name.split(".")[-2], (1, 1)), []).append(parameter)
    return [{"params": parameters, "cut": cut} for cut, parameters in found.items()]


def set_rate(optimizers: Iterable[torch.optim.Optimizer], share: float) -> None:
    """Set every group's learning rate to ``share`` of its peak."""
    for group in groups(optimizers):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(group["peak"] * share)
        else:
            group["lr"] = group["peak"] * share


def groups(optimizers: Iterable[torch.optim.Optimizer]):
    """Yield the parameter groups of all optimizers."""
    for optimizer in optimizers:
        yield from optimizer.param_groups


def rate(step: int, recipe: TrainingRecipe) -> float:
    """Return the learning rate of ``step`` (from 0) as a share of the peak: warm-up, stable, linear decay.

    Source: Hu et al. 2024 (MiniCPM), arXiv 2404.06395.
    """
    warmup, decay = recipe.warmup * recipe.steps, recipe.decay * recipe.steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    left = recipe.steps - step
    if left < decay:
        return recipe.final_rate + (1 - recipe.final_rate) * left / decay
    return 1.0


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
    """Put back what `state_tensors` returned."""
    parameters = dict(model.named_parameters())
    owner = {p: o for o in optimizers for group in o.param_groups for p in group["params"]}
    for name, tensor in tensors.items():
        parameter_name, key = name.rsplit("/", 1)
        parameter = parameters[parameter_name]
        owner[parameter].state[parameter][key] = tensor.to(parameter.device)
