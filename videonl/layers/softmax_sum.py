"""Σ_j softmax_j(scale · q_iᵀ k_j) v_j, exact, without the N x M matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from videonl.layers.rows import in_eager_cpu

# Entries of the N x M matrix that are held at a time (6 MB in float32: about the cache).
_ENTRIES = 1_600_000
# Rows of the matrix are kept for the backward pass while they take no more than this many times
# the memory of the queries: still linear in N, and each saves its product and its exponentials.
_KEPT = 5


def softmax_sum(queries: Tensor, keys: Tensor, values: Tensor, *, scale: float) -> Tensor:
    """Attention of one head in memory linear in N + M.

    On the CPU in float32 and float64 by blocks of queries with the softmax computed again in the
    backward pass; elsewhere by torch's fused attention.

    Args:
        queries: (B, N, C).
        keys: (B, M, C).
        values: (B, M, D).
        scale: factor on the logits.

    Returns:
        (B, N, D).
    """
    half = values.dtype in (torch.bfloat16, torch.float16)
    if in_eager_cpu(values) and not (half and keys.shape[2] == values.shape[2]):
        train = any(t.requires_grad for t in (queries, keys, values)) and torch.is_grad_enabled()
        kept = _KEPT * queries[0].numel() // keys.shape[1] if train else 0
        return _SoftmaxSum.apply(queries, keys, values, scale, min(kept, queries.shape[1]))
    # CPU attention holds the whole N x M matrix unless the last dimension is contiguous.
    q, k, v = (t.contiguous()[:, None] for t in (queries, keys, values))
    return scaled_dot_product_attention(q, k, v, scale=scale)[:, 0]


class _SoftmaxSum(Function):
    """Softmax attention, block of queries by block of queries."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, kept: int) -> Tensor:
        batch, count, _ = q.shape
        out = v.new_empty(batch, count, v.shape[2])
        log_sum = v.new_empty(batch, count - kept, 1)
        weights = v.new_empty(batch, kept, k.shape[1])
        room = _room(q, k)
        for i in range(batch):
            scaled = k[i].t() * scale
            for part in _parts(0, kept, len(room)):
                s = torch.mm(q[i, part], scaled, out=room[: part.stop - part.start])
                p = torch.softmax(s, 1, out=weights[i, part])
                torch.mm(p, v[i], out=out[i, part])
            for part in _parts(kept, count, len(room)):
                s = torch.mm(q[i, part], scaled, out=room[: part.stop - part.start])
                top = s.amax(1, keepdim=True)
                total = s.sub_(top).exp_().sum(1, keepdim=True)
                torch.mm(s, v[i], out=out[i, part]).div_(total)
                log_sum[i, part.start - kept : part.stop - kept] = top.add_(total.log_())
        ctx.save_for_backward(q, k, v, out, log_sum, weights)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, log_sum, weights = ctx.saved_tensors
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        kept = weights.shape[1]
        room, other = _room(q, k), _room(q, k)
        rows = len(room)
        for i in range(q.shape[0]):
            scaled = k[i].t() * ctx.scale
            for part in (*_parts(0, kept, rows), *_parts(kept, q.shape[1], rows)):
                one_q, one_grad = q[i, part], grad[i, part]
                if part.start < kept:
                    p = weights[i, part]
                else:
                    p = torch.mm(one_q, scaled, out=room[: len(one_q)])
                    p.sub_(log_sum[i, part.start - kept : part.stop - kept]).exp_()
                grad_v[i].addmm_(p.t(), one_grad)
                inner = (one_grad * out[i, part]).sum(1, keepdim=True)
                d = torch.mm(one_grad, v[i].t(), out=other[: len(one_q)]).sub_(inner).mul_(p)
                torch.mm(d, scaled.t(), out=grad_q[i, part])
                grad_k[i].addmm_(d.t(), one_q, alpha=ctx.scale)
        return grad_q, grad_k, grad_v, None, None


def _room(q: Tensor, k: Tensor) -> Tensor:
    """One block of the N x M matrix, allocated once: fresh memory costs as much as the exp."""
    rows = min(q.shape[1], max(1, _ENTRIES // k.shape[1]))
    return k.new_empty(rows, k.shape[1])


def _parts(first: int, end: int, rows: int) -> Iterator[slice]:
    return (slice(start, min(end, start + rows)) for start in range(first, end, rows))
