"""Our own PyTorch model, measured."""

from typing import Any

import torch
from torch import Tensor

from aurelius.inference.language_model import Inside
from aurelius.model.llama import Llama


class TorchScorer:
    """See `Scorer`."""

    def __init__(self, model: Llama):
        self.model = model

    @torch.no_grad()
    def logits(self, ids: Tensor) -> Tensor:
        """See `Scorer`."""
        return self.model(self._placed(ids)).float()

    @torch.no_grad()
    def inside(self, ids: Tensor) -> Inside:
        """See `Scorer`."""
        model, T = self.model, ids.shape[1]
        rope, x = model.get_buffer("rope")[:, :T], model.model.embed_tokens(self._placed(ids))
        later = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
        hidden, attention = [x], []
        layers: Any = model.model.layers
        for layer in layers:
            block = layer.self_attn
            q, k, _ = block.projections(layer.input_layernorm(x), rope)
            scores = q @ k.repeat_interleave(block.heads // block.kv_heads, 1).mT / block.head_dim**0.5
            attention.append(scores.masked_fill(later, -torch.inf).softmax(-1))
            x = layer(x, rope, None)
            hidden.append(x)
        hidden[-1] = model.model.norm(x)
        return Inside(torch.stack(hidden).float().cpu(), torch.stack(attention).float().cpu())

    def head(self) -> Tensor:
        """See `Scorer`."""
        return self.model.model.embed_tokens.weight.detach().float().cpu()

    def _placed(self, ids: Tensor) -> Tensor:
        return ids.to(self.model.model.embed_tokens.weight.device)
