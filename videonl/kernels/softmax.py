"""Both Gaussians, Σ_j softmax_j(scale · q_iᵀ k_j) v_j: four exact forms of the same sum.

The matrix kept (plain operators), torch's fused attention, tiles in Triton, and blocks of queries
as one operator of plain products, whose weights are computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from videonl.kernels.operands import Operands, refuse_second_derivative


def kept_sum(op: Operands) -> Tensor:
    """Through the N x M matrix, whose scale is taken by the product -> (B, N, C_out)."""
    queries, keys, values = op.embedded()
    return op.out(_softmax(queries, keys, op.scale) @ values)  # (B, N, M) @ (B, M, D)


def fused_sum(op: Operands) -> Tensor:
    """torch's fused attention, one head -> (B, N, C_out)."""
    queries, keys, values = (rows[:, None] for rows in op.embedded())  # (B, 1, n, C)
    return op.out(scaled_dot_product_attention(queries, keys, values, scale=op.scale)[:, 0])


def tiled_sum(op: Operands) -> Tensor:
    """Triton's tiles -> (B, N, C_out)."""
    from videonl.kernels.softmax_tiles import attend

    return op.out(attend(*op.embedded(), scale=op.scale))


def block_sum(op: Operands, *, entries: int) -> Tensor:
    """Blocks of queries with ``entries`` of the N x M matrix at a time -> (B, N, C_out)."""
    return op.out(softmax_blocks(*op.embedded(), op.scale, entries))


def _softmax(queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    room = queries.detach()[:, :1, :1]  # ignored: beta is 0
    return torch.softmax(torch.baddbmm(room, queries, keys.mT, beta=0, alpha=scale), -1)


@torch.library.custom_op("videonl::softmax_blocks", mutates_args=())
def softmax_blocks(q: Tensor, k: Tensor, v: Tensor, scale: float, entries: int) -> Tensor:
    """(B, N, C), (B, M, C), (B, M, D) -> (B, N, D)."""
    out = v.new_empty(q.shape[0], q.shape[1], v.shape[2])
    for part in _parts(q, k, entries):
        out[:, part] = _softmax(q[:, part], k, scale) @ v
    return out


@torch.library.custom_op("videonl::softmax_blocks_backward", mutates_args=())
def _softmax_blocks_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float, entries: int
) -> tuple[Tensor, Tensor, Tensor]:
    wide = torch.promote_types(q.dtype, torch.float32)  # totals over the blocks
    grad_q = q.new_empty(q.shape)
    grad_k, grad_v = (t.new_zeros(t.shape, dtype=wide) for t in (k, v))
    for part in _parts(q, k, entries):
        p = _softmax(q[:, part], k, scale)  # (B, n, M)
        grad_v += p.mT @ grad[:, part]
        d = grad[:, part] @ v.mT
        d = torch.ops.aten._softmax_backward_data(d, p, -1, p.dtype).mul_(scale)
        grad_q[:, part] = d @ k
        grad_k += d.mT @ q[:, part]
    return grad_q, grad_k.to(k.dtype), grad_v.to(v.dtype)


def _parts(q: Tensor, k: Tensor, entries: int) -> Iterator[slice]:
    rows = max(1, entries // (q.shape[0] * k.shape[1]))
    return (slice(start, start + rows) for start in range(0, q.shape[1], rows))


@softmax_blocks.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, scale: float, entries: int) -> Tensor:
    return v.new_empty(q.shape[0], q.shape[1], v.shape[2])


@_softmax_blocks_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float, entries: int
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.scale, ctx.entries = inputs
    ctx.save_for_backward(*tensors)


def _pull_back(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grads = _softmax_blocks_backward(grad, *ctx.saved_tensors, ctx.scale, ctx.entries)
    return (*grads, None, None)


softmax_blocks.register_autograd(_pull_back, setup_context=_setup)
_softmax_blocks_backward.register_autograd(refuse_second_derivative)
