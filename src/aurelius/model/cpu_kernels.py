"""Parts of the model with hand-written gradients, for training on a CPU.

PyTorch's attention for CPUs works in small tiles and recomputes the probabilities in the backward pass. At
the context lengths of tiny models it is faster to keep them, and to skip masked keys. RMSNorm and the loss
make many passes over memory if autograd assembles their gradients from single operations. Results equal those
of PyTorch's operations up to float32 rounding; GPUs and inference use those.

Shapes: B batch, T positions, D = d_model, H query heads, K key/value heads, G = H / K, E = head_dim,
V vocabulary, N = B T.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from aurelius.special_tokens import IGNORE_INDEX

MAX_POSITIONS = 1024  # beyond that, keeping T² probabilities costs more memory than it saves time
QUERY_ROWS = 104  # query positions at once: a quarter of the card's context, small enough for the cache


def applies(x: Tensor) -> bool:
    """Whether these kernels should be used for activations ``x`` [B, T, ...]."""
    return x.device.type == "cpu" and torch.is_grad_enabled() and x.shape[1] <= MAX_POSITIONS


@dataclass(frozen=True)
class Span:
    """Queries ``first`` to ``last`` of some heads ([B, K] flattened); their keys start at ``begin``."""

    heads: slice
    begin: int
    first: int
    last: int

    def rows(self, G: int) -> slice:
        """Return the span's rows among queries [T G]."""
        return slice(self.first * G, self.last * G)

    @property
    def keys(self) -> slice:
        """The positions of the span's keys; none is after its last query."""
        return slice(self.begin, self.last)


def spans(B: int, T: int, K: int, story: Tensor | None = None) -> list[Span]:
    """Return the causal mask as spans; with ``story`` [B, T], attention stays within each story."""
    if story is None:
        return [
            Span(slice(0, B * K), 0, first, min(first + QUERY_ROWS, T)) for first in range(0, T, QUERY_ROWS)
        ]
    result = []
    for row, numbers in enumerate(story):
        bounds = [0, *(numbers.diff().nonzero().flatten() + 1).tolist(), T]
        heads = slice(row * K, (row + 1) * K)
        for begin, end in pairwise(bounds):
            for first in range(begin, end, QUERY_ROWS):
                result.append(Span(heads, begin, first, min(first + QUERY_ROWS, end)))
    return result


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rope: Tensor, heads: int, kv_heads: int, mask: list[Span]) -> Tensor:
        B, T, width = qkv.shape
        K, G = kv_heads, heads // kv_heads
        E = width // (heads + 2 * K)
        q, k, v = _heads(qkv, K, G, E)
        q = _rotate(q, rope, 1, qkv.new_empty(B, K, T, G, E)).view(B * K, T * G, E).mul_(E**-0.5)
        k = _rotate(k, rope, 1, qkv.new_empty(B, K, T, 1, E)).view(B * K, T, E)
        v = v.reshape(B * K, T, E)
        y = torch.empty_like(q)
        probabilities = []
        for span in mask:
            h, rows, keys, count = span.heads, span.rows(G), span.keys, span.last - span.first
            scores = torch.bmm(q[h, rows], k[h, keys].mT)
            scores.view(-1, count, G, scores.shape[2])[..., -count:].add_(_causal_mask(count))
            probabilities.append(torch.softmax(scores, -1))
            torch.bmm(probabilities[-1], v[h, keys], out=y[h, rows])
        ctx.save_for_backward(q, k, v, y, rope, *probabilities)
        ctx.shape, ctx.spans = (B, T, K, G, E), mask
        return y.view(B, K, T, G * E).transpose(1, 2).reshape(B, T, heads * E)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, y, rope, *probabilities = ctx.saved_tensors
        B, T, K, G, E = ctx.shape
        dy = gradients[0].reshape(B, T, K, G * E).transpose(1, 2).reshape(B * K, T * G, E)
        inner = torch.linalg.vecdot(dy, y).unsqueeze(-1)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for span, p in zip(ctx.spans, probabilities, strict=True):
            h, rows, keys = span.heads, span.rows(G), span.keys
            # The gradient of the scores is p (dp - sum of p dp), and that sum is y dy (Dao 2022, 2205.14135).
            ds = torch.bmm(dy[h, rows], v[h, keys].mT).sub_(inner[h, rows]).mul_(p)
            torch.bmm(ds, k[h, keys], out=dq[h, rows])
            dk[h, keys].baddbmm_(ds.mT, q[h, rows])
            dv[h, keys].baddbmm_(p.mT, dy[h, rows])
        out = dy.new_empty(B, T, (K * G + 2 * K) * E)
        to_q, to_k, to_v = _heads(out, K, G, E)
        _rotate(dq.mul_(E**-0.5).view(B, K, T, G, E), rope, -1, to_q)
        _rotate(dk.view(B, K, T, 1, E), rope, -1, to_k)
        to_v.copy_(dv.view(B, K, T, 1, E))
        return out, None, None, None, None


def attention(qkv: Tensor, rope: Tensor, heads: int, kv_heads: int, mask: list[Span]) -> Tensor:
    """Rotate queries and keys, attend causally; [B, T, (H + 2K) E] to [B, T, H E].

    Args:
        qkv: queries, keys and values, concatenated.
        rope: cosines and sines [2, T, E] of the rotary embedding.
        heads: H.
        kv_heads: K.
        mask: see `spans`.
    """
    return _Attention.apply(qkv, rope, heads, kv_heads, mask)  # pyright: ignore[reportReturnType]


def _heads(qkv: Tensor, K: int, G: int, E: int) -> tuple[Tensor, Tensor, Tensor]:
    """View [B, T, (K G + 2 K) E] as queries [B, K, T, G, E], keys and values [B, K, T, 1, E]."""
    B, T, _ = qkv.shape
    q, k, v = qkv.split((K * G * E, K * E, K * E), -1)
    return (
        q.view(B, T, K, G, E).transpose(1, 2),
        k.view(B, T, K, 1, E).transpose(1, 2),
        v.view(B, T, K, 1, E).transpose(1, 2),
    )


def _rotate(x: Tensor, rope: Tensor, sign: int, out: Tensor) -> Tensor:
    """Rotate the pairs (i, i + E/2) of [B, K, T, G, E] into ``out``; backwards if ``sign`` is -1."""
    cos, sin = rope.unsqueeze(2).chunk(2)  # each [1, T, 1, E]
    half = x.shape[-1] // 2
    torch.mul(x, cos, out=out)
    out[..., :half].addcmul_(x[..., half:], sin[..., half:], value=-sign)
    out[..., half:].addcmul_(x[..., :half], sin[..., :half], value=sign)
    return out


@lru_cache(maxsize=1024)
def _causal_mask(count: int) -> Tensor:
    """Return [count, 1, count]: minus infinity where a key comes after the query, else 0."""
    return torch.full((count, count), float("-inf")).triu_(1).unsqueeze(1)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(-1)
        ctx.save_for_backward(x, scale, weight)
        return (x * scale).mul_(weight)

    @staticmethod
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
        scored = (targets != IGNORE_INDEX).unsqueeze(1)
        index = targets.clamp(min=0).unsqueeze(1)
        p = torch.softmax(x @ weight.T, -1)
        # Probabilities are clamped to the smallest normal number: at most 87 nats.
        at = p.gather(1, index).clamp_(min=torch.finfo(p.dtype).tiny).log_()
        p.scatter_add_(1, index, torch.full_like(at, -1.0)).mul_(scored)
        ctx.save_for_backward(p @ weight, p.T @ x)
        return -(at * scored).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        dx, dweight = ctx.saved_tensors
        return dx * gradients[0], dweight * gradients[0], None


def head_loss(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the summed negative log-likelihood (nats) of ``targets`` [N], logits being ``x`` ``weight``ᵀ.

    ``x`` is [N, D], ``weight`` [V, D]; targets of IGNORE_INDEX are not counted. The gradients are computed at
    once, in the memory of the logits.
    """
    return _HeadLoss.apply(x, weight, targets)  # pyright: ignore[reportReturnType]
