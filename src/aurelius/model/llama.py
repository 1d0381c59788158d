"""Llama (Touvron et al. 2023, arXiv 2302.13971), no larger than training needs it.

Parameters carry the published names, so a state dict is a stock ``LlamaForCausalLM`` checkpoint: pre-norm
RMSNorm, rotary position embedding in the half-split layout, grouped-query attention (arXiv 2305.13245),
SwiGLU, tied embeddings, no biases.

Shapes: B sequences, T positions, D = d_model, H query heads, K key/value heads, E = head_dim, V vocabulary.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from aurelius.config.settings import ModelSettings
from aurelius.special_tokens import BOS

FLEX_HEAD_DIM = 16  # the smallest that FlexAttention compiles

# Which positions attend to which: None is causal; a boolean mask broadcasts to [B, H, T, keys]; a BlockMask
# is for compiled training on a GPU.
Mask = Tensor | BlockMask | None


class Norm(nn.Module):
    """RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, shape: ModelSettings):
        super().__init__()
        self.eps = shape.norm_eps
        self.weight = nn.Parameter(torch.ones(shape.d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Causal grouped-query attention."""

    def __init__(self, shape: ModelSettings):
        super().__init__()
        self.head_dim, self.heads, self.kv_heads = shape.head_dim, shape.heads, shape.kv_heads
        self.q_proj = nn.Linear(shape.d_model, shape.heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(shape.d_model, shape.kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.d_model, shape.kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.d_model, bias=False)

    def projections(self, x: Tensor, rope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries [B, H, T, E] and keys [B, K, T, E], both turned, and values of [B, T, D]."""
        B, T, _ = x.shape
        # One product instead of three; concatenating the weights costs next to nothing.
        qkv = F.linear(x, torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight)))
        qk, v = qkv.view(B, T, -1, self.head_dim).split((self.heads + self.kv_heads, self.kv_heads), 2)
        # Rotated before the transposition, so that the output of attention needs no copy.
        q, k = rotate(qk, rope).split((self.heads, self.kv_heads), 2)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def forward(self, x: Tensor, rope: Tensor, mask: Mask) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        B, T, _ = x.shape
        q, k, v = self.projections(x, rope)
        if isinstance(mask, BlockMask):
            y = flex_attention(q, k, v, block_mask=mask, enable_gqa=True)
        else:
            causal = mask is None
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))  # pyright: ignore[reportAttributeAccessIssue]


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, shape: ModelSettings):
        super().__init__()
        self.gate_proj = nn.Linear(shape.d_model, shape.d_mlp, bias=False)
        self.up_proj = nn.Linear(shape.d_model, shape.d_mlp, bias=False)
        self.down_proj = nn.Linear(shape.d_mlp, shape.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        # One product instead of two, as in attention.
        gate, up = F.linear(x, torch.cat((self.gate_proj.weight, self.up_proj.weight))).chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    """One transformer layer."""

    def __init__(self, shape: ModelSettings):
        super().__init__()
        self.input_layernorm = Norm(shape)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, rope: Tensor, mask: Mask) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        x = x + self.self_attn(self.input_layernorm(x), rope, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    """Everything below the head, called ``model`` in the published names."""

    def __init__(self, shape: ModelSettings, vocab_size: int):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, shape.d_model)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape)


class Llama(nn.Module):
    """The language model."""

    def __init__(self, shape: ModelSettings, vocab_size: int):
        super().__init__()
        self.shape, self.vocab_size = shape, vocab_size
        self.model = Body(shape, vocab_size)
        # Cosines and sines [2, context, E]; computed, so not part of a checkpoint.
        self.register_buffer("rope", rope_table(shape), persistent=False)

    def forward(self, ids: Tensor, begin: int | None = None) -> Tensor:
        """Map token ids [B, T] to logits [B, T, V]; T is at most the context.

        With ``begin``, the id that begins a story, attention stays within each story.
        """
        return F.linear(self.hidden(ids, begin), self.model.embed_tokens.weight)

    def hidden(self, ids: Tensor, begin: int | None = None) -> Tensor:
        """Map token ids [B, T] to the input of the head [B, T, D]."""
        rope = self.get_buffer("rope")[:, : ids.shape[1]]
        x = self.model.embed_tokens(ids)
        if torch.is_autocast_enabled(x.device.type):  # half the memory traffic of a float32 residual stream
            x = x.to(torch.get_autocast_dtype(x.device.type))
        mask = self._mask(ids, begin)
        for layer in self.model.layers:
            x = layer(x, rope, mask)
        return self.model.norm(x)

    def _mask(self, ids: Tensor, begin: int | None) -> Mask:
        B, T = ids.shape
        story = None if begin is None else story_numbers(ids, begin)
        if story is not None and torch.compiler.is_compiling() and self.shape.head_dim >= FLEX_HEAD_DIM:

            def same_story(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
                return (query >= key) & (story[b, query] == story[b, key])

            return create_block_mask(same_story, B, None, T, T, ids.device)
        if story is not None:
            return (story.unsqueeze(2) == story.unsqueeze(1)).tril_().unsqueeze(1)
        return None

    def loss(self, ids: Tensor, targets: Tensor, begin: int | None = None) -> Tensor:
        """Return the summed negative log-likelihood (nats) of ``targets`` [B, T] except IGNORE_INDEX."""
        x, head = self.hidden(ids, begin), self.model.embed_tokens.weight
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


def story_numbers(ids: Tensor, begin: int = BOS) -> Tensor:
    """Number the stories of blocks [B, T]: ``begin`` begins one, ``<sink>`` is part of what follows it."""
    number = (ids == begin).cumsum(1)
    number[:, 0] = number[:, 1] if ids.shape[1] > 1 else 0
    return number


def rope_table(shape: ModelSettings) -> Tensor:
    """Return the rotary embedding's cosines and sines [2, context, E] (Su et al. 2021, arXiv 2104.09864)."""
    frequencies = 1.0 / shape.rope_theta ** (torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)
    angles = torch.outer(torch.arange(shape.context).float(), frequencies)
    angles = torch.cat((angles, angles), 1)
    return torch.stack((angles.cos(), angles.sin()))


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate each pair (i, i + E/2) of [B, T, H, E] by the angle of its position; ``rope`` is [2, T, E]."""
    cos, sin = rope.unsqueeze(2)  # each [T, 1, E]
    low, high = x.chunk(2, -1)
    return (x * cos + torch.cat((-high, low), -1) * sin).to(x.dtype)
