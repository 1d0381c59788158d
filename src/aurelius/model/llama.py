"""Llama (Touvron et al. 2023, arXiv 2302.13971), as lean as training wants it.

The weights carry the published names, so a state dict is a stock ``LlamaForCausalLM`` checkpoint: RMSNorm
before each part, rotary positions in the half-split layout, grouped-query attention (arXiv 2305.13245),
SwiGLU, tied embeddings, no biases.

Shapes: B batch, T positions, D = d_model, H query heads, K key/value heads, E = head_dim, V vocabulary.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aurelius.config.sections import ModelRecipe
from aurelius.model import cpu_kernels as fused
from aurelius.special_tokens import BOS

# What each position attends to: its past (None), a mask of [B, 1, T, T] or [T, seen + T], or, where a CPU
# trains, the spans that are multiplied.
Seen = Tensor | list[fused.Span] | None


class Cache:
    """Keys and values [B, K, T, E] of the positions a model has seen, for one generation."""

    def __init__(self, layers: int):
        self.layers: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self.length = 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append the new positions of one layer; return all of them."""
        seen = self.layers[layer]
        if seen is not None:
            k, v = torch.cat((seen[0], k), 2), torch.cat((seen[1], v), 2)
        self.layers[layer] = (k, v)
        return k, v


class Norm(nn.Module):
    """RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, shape: ModelRecipe):
        super().__init__()
        self.eps = shape.norm_eps
        self.weight = nn.Parameter(torch.ones(shape.d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        if fused.suits(x):
            return fused.rms_norm(x, self.weight, self.eps)
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Attention(nn.Module):
    """Causal grouped-query attention."""

    def __init__(self, shape: ModelRecipe):
        super().__init__()
        self.head_dim, self.heads, self.kv_heads = shape.head_dim, shape.heads, shape.kv_heads
        self.q_proj = nn.Linear(shape.d_model, shape.heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(shape.d_model, shape.kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.d_model, shape.kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.d_model, bias=False)

    def forward(self, x: Tensor, turn: Tensor, seen: Seen, cache: Cache | None, layer: int) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        B, T, _ = x.shape
        # One product instead of three; joining the weights costs next to nothing.
        qkv = F.linear(x, torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight)))
        if isinstance(seen, list):
            return self.o_proj(fused.attention(qkv, turn, self.heads, self.kv_heads, seen))
        sizes = (self.heads, self.kv_heads, self.kv_heads)
        q, k, v = qkv.view(B, T, -1, self.head_dim).transpose(1, 2).split(sizes, 1)  # [B, H or K, T, E]
        q, k = rotate(q, turn), rotate(k, turn)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        # Queries of one group sit beside each other, as enable_gqa and the published weights have it.
        group = self.heads // self.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        causal = seen is None and k.shape[2] == T
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=causal)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, shape: ModelRecipe):
        super().__init__()
        self.gate_proj = nn.Linear(shape.d_model, shape.d_mlp, bias=False)
        self.up_proj = nn.Linear(shape.d_model, shape.d_mlp, bias=False)
        self.down_proj = nn.Linear(shape.d_mlp, shape.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One transformer layer."""

    def __init__(self, shape: ModelRecipe):
        super().__init__()
        self.input_layernorm = Norm(shape)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, turn: Tensor, seen: Seen, cache: Cache | None, layer: int) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        x = x + self.self_attn(self.input_layernorm(x), turn, seen, cache, layer)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    """Everything below the head; it is called ``model`` in the published names."""

    def __init__(self, shape: ModelRecipe, vocab_size: int):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, shape.d_model)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape)


class Llama(nn.Module):
    """The language model."""

    def __init__(self, shape: ModelRecipe, vocab_size: int):
        super().__init__()
        self.shape, self.vocab_size = shape, vocab_size
        self.model = Body(shape, vocab_size)
        # One buffer, cosines and sines [2, context, E]; it is not saved, being computed.
        self.register_buffer("turn", rotary(shape), persistent=False)

    def forward(self, ids: Tensor, cache: Cache | None = None, begin: int | None = None) -> Tensor:
        """Map token ids [B, T] to logits [B, T, V].

        With a cache the ids follow the positions it holds (``cache.length + T`` may be at most the context);
        where ``begin`` is the id that begins stories, they do not see each other.
        """
        return F.linear(self.hidden(ids, cache, begin), self.model.embed_tokens.weight)

    def hidden(self, ids: Tensor, cache: Cache | None = None, begin: int | None = None) -> Tensor:
        """Map token ids [B, T] to what the head reads [B, T, D]."""
        first = cache.length if cache is not None else 0
        T = ids.shape[1]
        turn = self.get_buffer("turn")[:, first : first + T]
        x = self.model.embed_tokens(ids)
        seen = self._seen(ids, x, first, begin)
        for number, layer in enumerate(self.model.layers):
            x = layer(x, turn, seen, cache, number)
        if cache is not None:
            cache.length += T
        return self.model.norm(x)

    def _seen(self, ids: Tensor, x: Tensor, first: int, begin: int | None) -> Seen:
        B, T = ids.shape
        story = None if begin is None else stories(ids, begin)
        if not first and fused.suits(x):
            return fused.spans(B, T, self.shape.kv_heads, story)
        if story is not None:
            return (story.unsqueeze(2) == story.unsqueeze(1)).tril_().unsqueeze(1)
        if first and T > 1:
            return torch.ones(T, first + T, dtype=torch.bool, device=ids.device).tril(first)
        return None

    def loss(self, ids: Tensor, targets: Tensor, begin: int | None = None) -> Tensor:
        """Return the summed negative log-likelihood (nats) of ``targets`` [B, T], IGNORED ones left out."""
        x, head = self.hidden(ids, begin=begin), self.model.embed_tokens.weight
        if fused.suits(x):
            return fused.head_loss(x.flatten(0, 1), head, targets.flatten())
        logits = F.linear(x, head).float()
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")

    def initialise(self, seed: int) -> None:
        """Draw the weights: normal, deviation 0.02, smaller where a layer writes to the residual stream.

        Source: Radford et al. 2019 (GPT-2), section 2.3.
        """
        random = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.ones_(parameter)
                continue
            residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            std = 0.02 / math.sqrt(2 * self.shape.layers) if residual else 0.02
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=random) * std)


def stories(ids: Tensor, begin: int = BOS) -> Tensor:
    """Number the stories of blocks [B, T]; ``begin`` begins one, ``<sink>`` is part of what follows it."""
    number = (ids == begin).cumsum(1)
    number[:, 0] = number[:, 1] if ids.shape[1] > 1 else 0
    return number


def rotary(shape: ModelRecipe) -> Tensor:
    """Return cosines and sines [2, context, E] of the rotary embedding (Su et al. 2021, arXiv 2104.09864)."""
    frequencies = 1.0 / shape.rope_theta ** (torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)
    angles = torch.outer(torch.arange(shape.context).float(), frequencies)
    angles = torch.cat((angles, angles), 1)
    return torch.stack((angles.cos(), angles.sin()))


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn each pair (i, i + E/2) of [B, H, T, E] by its position's angle."""
    cos, sin = turn
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat((-high, low), -1) * sin
