"""Both Gaussians, Σ_j softmax_j(scale · q_iᵀ k_j) v_j: four exact forms of the same sum.

The matrix kept (plain operators), torch's fused attention, tiles in Triton, and blocks of queries
as one operator of plain products, whose weights are computed again in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.nn.functional import scaled_dot_product_attention

from videonl.kernels.operands import Operands
from videonl.kernels.operator import define, run

_KEPT = 5


def kept_sum(op: Operands) -> Tensor:
    """Through the N x M matrix, whose scale is taken by the products -> (B, N, C_out)."""
    return op.out(_Kept.apply(*op.embedded(), op.scale)[0])


def fused_sum(op: Operands) -> Tensor:
    """Torch's fused attention, one head -> (B, N, C_out)."""
    queries, keys, values = op.embedded()
    heads = (queries[:, None], keys[:, None], values[:, None])  # (B, 1, n, C)
    return op.out(scaled_dot_product_attention(*heads, scale=op.scale)[:, 0])


def tiled_sum(op: Operands) -> Tensor:
    """Triton's tiles -> (B, N, C_out)."""
    from videonl.kernels.softmax_tiles import attend

    return op.out(attend(*op.embedded(), scale=op.scale))


def block_sum(op: Operands, *, entries: int) -> Tensor:
    """Blocks of queries with ``entries`` of the N x M matrix at a time -> (B, N, C_out).

    The weights of the first queries are kept for the backward pass, up to _KEPT times the memory
    of all queries: still linear in N, and each saves a product and its exponentials.
    """
    queries, keys, values = op.embedded()
    rows = queries.shape[1]
    kept = min(rows, _KEPT * rows * op.width // keys.shape[1]) if op.learns else 0
    queries = queries if op.scale == 1.0 else queries * op.scale
    return op.out(run("softmax_blocks", queries, keys, values, entries, kept)[0])


class _Kept(Function):
    """softmax(scale · q kᵀ) v and its weights p (B, N, M); no launch for the scale."""

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        p = torch.softmax(_product(q, k.mT, scale), -1)
        return p @ v, p

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, ctx.scale = inputs
        ctx.save_for_backward(*tensors, output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_p: Tensor | None) -> tuple[Any, ...]:
        q, k, v, p = ctx.saved_tensors
        grad = q.new_zeros(()).expand(*q.shape[:2], v.shape[2]) if grad is None else grad
        d = grad @ v.mT if grad_p is None else grad @ v.mT + grad_p  # (B, N, M)
        d = torch.ops.aten._softmax_backward_data(d, p, -1, p.dtype)
        return _product(d, k, ctx.scale), _product(d.mT, q, ctx.scale), p.mT @ grad, None


def _product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Scale · a b in one launch."""
    ignored = a.detach()[:, :1, :1]  # beta is 0
    return torch.baddbmm(ignored, a, b, beta=0, alpha=scale)


def _forward(q: Tensor, k: Tensor, v: Tensor, entries: int, kept: int) -> tuple[Tensor, Tensor]:
    """(B, N, C), (B, M, C), (B, M, D) -> (B, N, D), and the first weights (B, kept, M)."""
    out = v.new_empty(*q.shape[:2], v.shape[2])
    weights = v.new_empty(q.shape[0], kept, k.shape[1])
    for part in _parts(q, k, entries, kept):
        p = torch.softmax(q[:, part] @ k.mT, -1)  # (B, n, M)
        out[:, part] = p @ v
        if part.start < kept:
            weights[:, part] = p
    return out, weights


def _fake(q: Tensor, k: Tensor, v: Tensor, _: int, kept: int) -> tuple[Tensor, Tensor]:
    return v.new_empty(*q.shape[:2], v.shape[2]), v.new_empty(q.shape[0], kept, k.shape[1])


def _backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, _out: Tensor, weights: Tensor, entries: int,
    kept: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    wide = torch.promote_types(q.dtype, torch.float32)  # totals over the blocks
    grad_q = q.new_empty(q.shape)
    grad_k, grad_v = k.new_zeros(k.shape, dtype=wide), v.new_zeros(v.shape, dtype=wide)
    for part in _parts(q, k, entries, kept):
        one, rows = q[:, part], grad[:, part]
        p = weights[:, part] if part.start < kept else torch.softmax(one @ k.mT, -1)
        d = torch.ops.aten._softmax_backward_data(rows @ v.mT, p, -1, p.dtype)  # (B, n, M)
        grad_q[:, part] = d @ k
        grad_k += d.mT @ one
        grad_v += p.mT @ rows
    return grad_q, grad_k.to(k.dtype), grad_v.to(v.dtype)


def _parts(q: Tensor, k: Tensor, entries: int, kept: int) -> list[slice]:
    """Blocks of the queries, none over the last one whose weights are kept."""
    rows = max(1, entries // (q.shape[0] * k.shape[1]))
    starts = [*range(0, kept, rows), *range(kept, q.shape[1], rows), q.shape[1]]
    return list(map(slice, starts, starts[1:]))


define("softmax_blocks", _forward, _backward, fake=_fake)
