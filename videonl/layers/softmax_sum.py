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
        return _SoftmaxSum.apply(queries, keys, values, scale)
    # CPU attention holds the whole N x M matrix unless the last dimension is contiguous.
    q, k, v = (t.contiguous()[:, None] for t in (queries, keys, values))
    return scaled_dot_product_attention(q, k, v, scale=scale)[:, 0]


class _SoftmaxSum(Function):
    """Softmax attention, block of queries by block of queries."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        out = v.new_empty(q.shape[0], q.shape[1], v.shape[2])
        log_sum = v.new_empty(q.shape[0], q.shape[1], 1)
        room = _room(q, k)
        for i in range(q.shape[0]):
            scaled = k[i].t() * scale
            for part in _parts(q.shape[1], len(room)):
                s = torch.mm(q[i, part], scaled, out=room[: q[i, part].shape[0]])
                top = s.amax(1, keepdim=True)
                total = s.sub_(top).exp_().sum(1, keepdim=True)
                torch.mm(s, v[i], out=out[i, part]).div_(total)
                log_sum[i, part] = top.add_(total.log_())
        ctx.save_for_backward(q, k, v, out, log_sum)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, log_sum = ctx.saved_tensors
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        room, other = _room(q, k), _room(q, k)
        for i in range(q.shape[0]):
            scaled = k[i].t() * ctx.scale
            for part in _parts(q.shape[1], len(room)):
                one_q, one_grad = q[i, part], grad[i, part]
                p = torch.mm(one_q, scaled, out=room[: one_q.shape[0]])
                p.sub_(log_sum[i, part]).exp_()
                grad_v[i].addmm_(p.t(), one_grad)
                inner = (one_grad * out[i, part]).sum(1, keepdim=True)
                d = torch.mm(one_grad, v[i].t(), out=other[: one_q.shape[0]]).sub_(inner)
                p.mul_(d)
                torch.mm(p, scaled.t(), out=grad_q[i, part])
                grad_k[i].addmm_(p.t(), one_q, alpha=ctx.scale)
        return grad_q, grad_k, grad_v, None


def _room(q: Tensor, k: Tensor) -> Tensor:
    """One block of the N x M matrix, allocated once: fresh memory costs as much as the exp."""
    rows = min(q.shape[1], max(1, _ENTRIES // k.shape[1]))
    return k.new_empty(rows, k.shape[1])


def _parts(count: int, rows: int) -> Iterator[slice]:
    return (slice(start, start + rows) for start in range(0, count, rows))
