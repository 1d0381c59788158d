"""Muon for the matrices, AdamW for the embedding and the norms."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch import _foreach_add_ as add_  # pyright: ignore[reportPrivateImportUsage]
from torch import _foreach_lerp_ as lerp_  # pyright: ignore[reportPrivateImportUsage]
from torch import _foreach_mul_ as multiply_  # pyright: ignore[reportPrivateImportUsage]

from aurelius.config.optimizers import MuonSettings
from aurelius.model.llama import Llama
from aurelius.training.optim.adamw import adamw
from aurelius.training.optim.options import StepOptions

if TYPE_CHECKING:
    from aurelius.training.cpu_step.engine import CpuStep

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.775, 2.0315)  # K. Jordan 2024, https://kellerjordan.github.io/posts/muon/

HeadGrid = tuple[int, int]  # how many heads a matrix stacks below and next to each other


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates, for matrices (Jordan 2024).

    The rule is that of `torch.optim.Muon`, applied to each head separately if a parameter group has a grid of
    ``heads``. Matrices of one shape, transposed or not, are orthogonalised in one batch, in float32 unless
    ``bf16``. On a CPU, compiled code (``cpu``) updates one matrix at a time on each core.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float,
        momentum: float,
        cpu: "CpuStep | None" = None,
        bf16: bool = False,
    ):
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "heads": (1, 1)}
        super().__init__(matrices, defaults)
        self.cpu, self.bf16 = cpu, bf16

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update the parameters once."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and not self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        if self.cpu:
            self.cpu.update_matrices(
                [
                    (p, self.state[p]["momentum_buffer"], group)
                    for group in self.param_groups
                    for p in group["params"]
                    if p.grad is not None
                ]
            )
            return
        by_shape: dict[torch.Size, list[tuple[Tensor, dict[str, Any], Tensor]]] = {}
        for group in self.param_groups:
            matrices = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in matrices]
            averages = [self.state[p]["momentum_buffer"] for p in matrices]
            lerp_(averages, gradients, 1 - group["momentum"])
            lerp_(gradients, averages, group["momentum"])  # Nesterov momentum
            multiply_(matrices, 1 - group["lr"] * group["weight_decay"])
            for p, gradient in zip(matrices, gradients, strict=True):
                heads = split_heads(gradient, group["heads"])
                by_shape.setdefault(heads.shape[1:], []).append((p, group, heads))
        for part in by_shape.values():
            updates = orthogonal(torch.cat([heads for _, _, heads in part]), self.bf16)
            pieces = updates.split([len(heads) for _, _, heads in part])
            changes = [
                join_heads(piece, p.shape, group["heads"])
                for piece, (p, group, _) in zip(pieces, part, strict=True)
            ]
            scales = [max(1, p.shape[0] / p.shape[1]) ** 0.5 for p, _, _ in part]
            multiply_(changes, scales)
            multiply_(changes, -part[0][1]["lr"])  # the same for every group
            add_([p for p, _, _ in part], changes)


def split_heads(matrix: Tensor, grid: HeadGrid) -> Tensor:
    """Return the heads of a matrix [R, C] as matrices [heads, rows, columns] with rows <= columns."""
    down, across = grid
    heads = matrix.unflatten(1, (across, -1)).unflatten(0, (down, -1)).transpose(1, 2).flatten(0, 1)
    return heads.mT if heads.shape[1] > heads.shape[2] else heads


def join_heads(heads: Tensor, shape: torch.Size, grid: HeadGrid) -> Tensor:
    """Undo `split_heads` for a matrix of ``shape``."""
    down, across = grid
    if shape[0] // down > shape[1] // across:
        heads = heads.mT
    return heads.unflatten(0, (down, across)).transpose(1, 2).reshape(shape)


def orthogonal(matrices: Tensor, bf16: bool = False) -> Tensor:
    """Return approximately U Vᵀ of the singular value decomposition of each matrix [N, R, C], R <= C.

    The quintic Newton-Schulz iteration; singular values end between about 0.7 and 1.2. Source: Jordan 2024
    (see COEFFICIENTS).
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if bf16 else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    if bf16:
        for _ in range(ITERATIONS):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x.to(matrices.dtype)
    # The same on the small Gram matrix, with a single product with x at the end: a quarter less work. It
    # needs twice the digits, which float32 has and bf16 does not.
    gram = x @ x.mT
    total = gram
    for step in range(ITERATIONS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        total = factor @ total if step else factor
        if step < ITERATIONS - 1:
            gram = factor @ (gram @ factor)
    return total @ x


def build(model: Llama, settings: MuonSettings, options: StepOptions) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the layers, and AdamW for the other parameters."""
    heads, kv_heads = model.shape.heads, model.shape.kv_heads
    grids = {"q_proj": (heads, 1), "k_proj": (kv_heads, 1), "v_proj": (kv_heads, 1), "o_proj": (1, heads)}
    by_grid: dict[HeadGrid, list[Tensor]] = {}
    for name, parameter in model.model.layers.named_parameters():
        if parameter.ndim == 2:
            by_grid.setdefault(grids.get(name.split(".")[-2], (1, 1)), []).append(parameter)
    groups = [{"params": parameters, "heads": grid} for grid, parameters in by_grid.items()]
    muon = Muon(
        groups,
        settings.learning_rate,
        settings.weight_decay,
        settings.momentum,
        options.cpu,
        options.bf16,
    )
    matrices = {p for group in groups for p in group["params"]}
    rest = {name: p for name, p in model.named_parameters() if p not in matrices}
    betas = (settings.beta1, settings.beta2)
    return [muon, adamw(rest, settings.adamw_learning_rate, betas, settings.weight_decay, options)]
