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

from videonl.kernels.operands import Operands, refuse_second_derivative

_KEPT = 5


def kept_sum(op: Operands) -> Tensor:
    """Through the N x M matrix, whose scale is taken by the product -> (B, N, C_out)."""
    y, _ = _Kept.apply(*op.embedded(), op.scale)  # (B, N, D), (B, N, M)
    return op.out(y)


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
    rows, width, keys = op.queries.shape[1], op.width, op.keys.shape[1]
    kept = min(rows, _KEPT * rows * width // keys) if op.learns else 0
    return op.out(softmax_blocks(*op.embedded(), op.scale, entries, kept)[0])


def _product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Scale · a b in one launch."""
    ignored = a.detach()[:, :1, :1]  # beta is 0
    return torch.baddbmm(ignored, a, b, beta=0, alpha=scale)


def _gradients(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, p: Tensor, scale: float, grad_p: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Of q, k and v, from those of p v and of p = softmax(scale · q kᵀ)."""
    d = grad @ v.mT  # (B, N, M)
    d = torch.ops.aten._softmax_backward_data(d if grad_p is None else d + grad_p, p, -1, p.dtype)
    return _product(d, k, scale), _product(d.mT, q, scale), p.mT @ grad


class _Kept(Function):
    """softmax(scale · q kᵀ) v and its weights, with the scale inside the products."""

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
        return (*_gradients(grad, q, k, v, p, ctx.scale, grad_p), None)


@torch.library.custom_op("videonl::softmax_blocks", mutates_args=())
def softmax_blocks(
    q: Tensor, k: Tensor, v: Tensor, scale: float, entries: int, kept: int
) -> tuple[Tensor, Tensor]:
    """(B, N, C), (B, M, C), (B, M, D) -> (B, N, D), and the first weights (B, kept, M)."""
    out = v.new_empty(q.shape[0], q.shape[1], v.shape[2])
    weights = v.new_empty(q.shape[0], kept, k.shape[1])
    for part in _parts(q, k, entries, kept):
        p = torch.softmax(_product(q[:, part], k.mT, scale), -1)  # (B, n, M)
        out[:, part] = p @ v
        if part.start < kept:
            weights[:, part] = p
    return out, weights


@torch.library.custom_op("videonl::softmax_blocks_backward", mutates_args=())
def _softmax_blocks_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, weights: Tensor, scale: float, entries: int
) -> tuple[Tensor, Tensor, Tensor]:
    wide = torch.promote_types(q.dtype, torch.float32)  # totals over the blocks
    grad_q = q.new_empty(q.shape)
    grad_k, grad_v = k.new_zeros(k.shape, dtype=wide), v.new_zeros(v.shape, dtype=wide)
    kept = weights.shape[1]
    for part in _parts(q, k, entries, kept):
        one, rows = q[:, part], grad[:, part]
        known = part.start < kept
        p = weights[:, part] if known else torch.softmax(_product(one, k.mT, scale), -1)
        grad_q[:, part], one_k, one_v = _gradients(rows, one, k, v, p, scale, None)
        grad_k += one_k
        grad_v += one_v
    return grad_q, grad_k.to(k.dtype), grad_v.to(v.dtype)


def _parts(q: Tensor, k: Tensor, entries: int, kept: int) -> list[slice]:
    """Blocks of the queries, none over the last one whose weights are kept."""
    rows = max(1, entries // (q.shape[0] * k.shape[1]))
    starts = [*range(0, kept, rows), *range(kept, q.shape[1], rows), q.shape[1]]
    return list(map(slice, starts, starts[1:]))


@softmax_blocks.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, scale: float, entries: int, kept: int
) -> tuple[Tensor, Tensor]:
    weights = v.new_empty(q.shape[0], kept, k.shape[1])
    return v.new_empty(q.shape[0], q.shape[1], v.shape[2]), weights


@_softmax_blocks_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, weights: Tensor, scale: float, entries: int
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, ctx.scale, ctx.entries, _ = inputs
    ctx.save_for_backward(q, k, v, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _pull_back(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 6
    grads = _softmax_blocks_backward(grad, *ctx.saved_tensors, ctx.scale, ctx.entries)
    return (*grads, None, None, None)


softmax_blocks.register_autograd(_pull_back, setup_context=_setup)
_softmax_blocks_backward.register_autograd(refuse_second_derivative)
