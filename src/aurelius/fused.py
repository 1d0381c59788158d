"""Parts of the model with gradients written by hand, for training on a CPU.

PyTorch's attention for CPUs multiplies in small tiles and recomputes the probabilities in the backward pass; at
the contexts of tiny models it is faster to keep them. RMSNorm and the loss take many passes over memory when
their gradients are put together from single operations. Results are those of the plain operations up to
float32 rounding; GPUs and inference use the plain ones.

Shapes: B batch, T positions, D = d_model, H query heads, K key/value heads, G = H / K, E = head_dim,
V vocabulary, N = B T.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from aurelius.tokens import IGNORED

LONGEST = 1024  # positions; beyond, keeping T² probabilities costs more memory than it saves time
ROWS = 104  # query positions at once: a quarter of the card's context, small enough for the cache


def suits(x: Tensor) -> bool:
    """Whether to use these for activations ``x`` [B, T, ...]."""
    return x.device.type == "cpu" and torch.is_grad_enabled() and x.shape[1] <= LONGEST


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, turn: Tensor, heads: int, kv_heads: int) -> Tensor:
        B, T, width = qkv.shape
        K, G = kv_heads, heads // kv_heads
        E = width // (heads + 2 * K)
        q, k, v = _heads(qkv, K, G, E)
        q = _turn(q, turn, 1, qkv.new_empty(B, K, T, G, E)).view(B * K, T * G, E).mul_(E**-0.5)
        k = _turn(k, turn, 1, qkv.new_empty(B, K, T, 1, E)).view(B * K, T, E)
        v = v.reshape(B * K, T, E)
        y = torch.empty_like(q)
        probabilities = []
        for first, last in _chunks(T):
            rows = slice(first * G, last * G)
            scores = torch.bmm(q[:, rows], k[:, :last].mT)  # keys after the chunk are never looked at
            scores.view(B * K, last - first, G, last)[..., first:] += _future(last - first)
            probabilities.append(torch.softmax(scores, -1))
            y[:, rows] = torch.bmm(probabilities[-1], v[:, :last])
        ctx.save_for_backward(q, k, v, y, turn, *probabilities)
        ctx.shape = B, T, K, G, E
        return y.view(B, K, T, G * E).transpose(1, 2).reshape(B, T, heads * E)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, y, turn, *probabilities = ctx.saved_tensors
        B, T, K, G, E = ctx.shape
        dy = gradients[0].reshape(B, T, K, G * E).transpose(1, 2).reshape(B * K, T * G, E)
        inner = torch.linalg.vecdot(dy, y).unsqueeze(-1)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for (first, last), p in zip(_chunks(T), probabilities, strict=True):
            rows = slice(first * G, last * G)
            # The gradient of the scores is p (dp - sum of p dp), and that sum is y dy (Dao 2022, 2205.14135).
            ds = torch.baddbmm(inner[:, rows], dy[:, rows], v[:, :last].mT, beta=-1).mul_(p)
            dq[:, rows] = torch.bmm(ds, k[:, :last])
            dk[:, :last] += torch.bmm(ds.mT, q[:, rows])
            dv[:, :last] += torch.bmm(p.mT, dy[:, rows])
        out = dy.new_empty(B, T, (K * G + 2 * K) * E)
        to_q, to_k, to_v = _heads(out, K, G, E)
        _turn(dq.mul_(E**-0.5).view(B, K, T, G, E), turn, -1, to_q)
        _turn(dk.view(B, K, T, 1, E), turn, -1, to_k)
        to_v.copy_(dv.view(B, K, T, 1, E))
        return out, None, None, None


def attention(qkv: Tensor, turn: Tensor, heads: int, kv_heads: int) -> Tensor:
    """Rotate queries and keys, attend causally; [B, T, (H + 2K) E] to [B, T, H E].

    Args:
        qkv: queries, keys and values side by side.
        turn: cosines and sines [2, T, E] of the rotary embedding.
        heads: H.
        kv_heads: K.
    """
    return _Attention.apply(qkv, turn, heads, kv_heads)  # pyright: ignore[reportReturnType]


def _heads(qkv: Tensor, K: int, G: int, E: int) -> tuple[Tensor, Tensor, Tensor]:
    """View [B, T, (K G + 2 K) E] as queries [B, K, T, G, E], keys and values [B, K, T, 1, E]."""
    B, T, _ = qkv.shape
    q, k, v = qkv.split((K * G * E, K * E, K * E), -1)
    return (
        q.view(B, T, K, G, E).transpose(1, 2),
        k.view(B, T, K, 1, E).transpose(1, 2),
        v.view(B, T, K, 1, E).transpose(1, 2),
    )


def _turn(x: Tensor, turn: Tensor, sign: int, out: Tensor) -> Tensor:
    """Rotate the pairs (i, i + E/2) of [B, K, T, G, E] into ``out``; backwards where ``sign`` is -1."""
    cos, sin = turn.unsqueeze(2).chunk(2)  # each [1, T, 1, E]
    half = x.shape[-1] // 2
    torch.mul(x, cos, out=out)
    out[..., :half].addcmul_(x[..., half:], sin[..., half:], value=-sign)
    out[..., half:].addcmul_(x[..., :half], sin[..., :half], value=sign)
    return out


def _chunks(T: int) -> list[tuple[int, int]]:
    return [(first, min(first + ROWS, T)) for first in range(0, T, ROWS)]


@lru_cache
def _future(count: int) -> Tensor:
    """Return [count, 1, count]: minus infinity where a key comes after the query, else 0."""
    return torch.full((count, count), float("-inf")).triu_(1).unsqueeze(1)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(-1)
        ctx.save_for_backward(x, scale, weight)
        return (x * scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, weight = ctx.saved_tensors
        (dy,) = gradients
        D = x.shape[-1]
        product = (dy * x).view(-1, D)
        dweight = scale.view(-1) @ product
        pull = (product @ weight).view_as(scale).mul_(scale**3).div_(D)
        return (dy * weight).mul_(scale).addcmul_(x, pull, value=-1), dweight, None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Divide [..., D] by its root mean square and multiply by ``weight`` [D] (arXiv 1910.07467)."""
    return _Norm.apply(x, weight, eps)  # pyright: ignore[reportReturnType]


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        scored = (targets != IGNORED).unsqueeze(1)
        index = targets.clamp(min=0).unsqueeze(1)
        p = torch.softmax(x @ weight.T, -1)
        # A target less likely than the smallest normal number counts as that: 87 nats.
        at = p.gather(1, index).clamp_(min=torch.finfo(p.dtype).tiny).log_()
        p.scatter_add_(1, index, torch.full_like(at, -1.0)).mul_(scored)
        ctx.save_for_backward(p @ weight, p.T @ x)
        return -(at * scored).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        dx, dweight = ctx.saved_tensors
        return dx * gradients[0], dweight * gradients[0], None


def head_loss(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the summed negative log-likelihood (nats) of ``targets`` [N] under ``x`` [N, D] @ ``weight``ᵀ [D, V].

    The gradients are made at once, in the memory of the logits; IGNORED targets are left out.
    """
    return _HeadLoss.apply(x, weight, targets)  # pyright: ignore[reportReturnType]
