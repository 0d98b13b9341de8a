"""Σ_j softmax_j(scale · q_iᵀ k_j) v_j, exact, without the N x M matrix."""

from __future__ import annotations

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
        batch, count, _ = q.shape
        keys = k.shape[1]
        rows = max(1, _ENTRIES // keys)
        out = v.new_empty(batch, count, v.shape[2])
        log_sum = v.new_empty(batch, count, 1)
        for i in range(batch):
            kt = k[i].t() * scale
            for start in range(0, count, rows):
                part = slice(start, start + rows)
                s = torch.mm(q[i, part], kt)
                top = s.amax(1, keepdim=True)
                s.sub_(top).exp_()
                total = s.sum(1, keepdim=True)
                torch.mm(s, v[i], out=out[i, part])
                out[i, part].div_(total)
                log_sum[i, part] = top.add_(total.log_())
        ctx.save_for_backward(q, k, v, out, log_sum)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, log_sum = ctx.saved_tensors
        scale: float = ctx.scale
        batch, count, _ = q.shape
        rows = max(1, _ENTRIES // k.shape[1])
        grad_q = torch.empty_like(q)
        grad_k = torch.zeros_like(k)
        grad_v = torch.zeros_like(v)
        inner = (grad * out).sum(2, keepdim=True)
        for i in range(batch):
            kt = k[i].t() * scale
            for start in range(0, count, rows):
                part = slice(start, start + rows)
                p = torch.mm(q[i, part], kt).sub_(log_sum[i, part]).exp_()
                grad_v[i].addmm_(p.t(), grad[i, part])
                p.mul_(torch.mm(grad[i, part], v[i].t()).sub_(inner[i, part]))
                torch.mm(p, kt.t(), out=grad_q[i, part])
                grad_k[i].addmm_(p.t(), q[i, part], alpha=scale)
        return grad_q, grad_k, grad_v, None
