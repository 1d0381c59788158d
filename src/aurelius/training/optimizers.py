"""Muon for the matrices, AdamW for the rest; or AdamW for all. And the rate they follow."""

from collections.abc import Iterable

import torch
from torch import Tensor

from aurelius.model import Llama
from aurelius.sections import TrainingRecipe

STEPS = 5  # of the Newton-Schulz iteration
COEFFICIENTS = (3.4445, -4.775, 2.0315)  # K. Jordan 2024, https://kellerjordan.github.io/posts/muon/


class Muon(torch.optim.Muon):
    """`torch.optim.Muon` that orthogonalises in float32 off CUDA.

    PyTorch's own works in bf16, which few CPUs multiply natively: there it is over ten times slower than
    float32, and inexact. Options, state and update rule are the parent's.
    """

    @torch.no_grad()
    def step(self, closure=None):
        """Update the parameters once; see `torch.optim.Muon`."""
        if closure is not None or self.param_groups[0]["params"][0].device.type == "cuda":
            return super().step(closure)
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(p.grad)
                average = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
                update = p.grad.lerp(average, momentum) if group["nesterov"] else average
                p.mul_(1 - rate * group["weight_decay"])
                p.add_(orthogonal(update), alpha=-rate * max(1, p.shape[0] / p.shape[1]) ** 0.5)
        return None


def orthogonal(matrix: Tensor) -> Tensor:
    """Return about U Vᵀ of a matrix's singular value decomposition, by the quintic Newton-Schulz iteration.

    Singular values end between about 0.7 and 1.2. Source: Jordan 2024 (see COEFFICIENTS).
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def build(model: Llama, recipe: TrainingRecipe) -> list[torch.optim.Optimizer]:
    """Return the optimizers of ``model``'s parameters; each group remembers its peak rate as ``peak``."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    norms = [p for p in model.parameters() if p.ndim == 1]
    embedding = model.model.embed_tokens.weight
    decay = recipe.weight_decay
    plain = [{"params": [embedding], "weight_decay": decay}, {"params": norms, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = []
    if recipe.optimizer == "muon":
        optimizers.append(
            Muon(matrices, recipe.muon_learning_rate, weight_decay=decay, momentum=recipe.momentum)
        )
    else:
        plain.append({"params": matrices, "weight_decay": decay})
    betas = (recipe.beta1, recipe.beta2)
    optimizers.append(
        torch.optim.AdamW(plain, recipe.learning_rate, betas, fused=embedding.device.type != "mps")
    )
    for group in groups(optimizers):
        group["peak"] = group["lr"]
    return optimizers


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
