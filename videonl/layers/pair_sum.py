"""Σ_j ReLU(a_i + b_j) g_j in O((N + M)(log M + D)): sort the keys, prefix sums, binary search.

Sort the keys by b. Query i takes the keys from k = (the first with b_k > -a_i) on, so with the
suffix sums S_k = Σ_{j≥k} g_j and R_k = Σ_{j≥k} (b_j - b_k) g_j its sum is

    Σ_j ReLU(a_i + b_j) g_j = (a_i + b_k) S_k + R_k.

Both factors of every term are non-negative weights, so nothing large cancels, as it would between
a_i S_k and Σ b_j g_j. The sums run in float64 (float32 for half types); where a_i + b_j = 0 the
derivative is 0, as that of ReLU in the reference form.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable
from torch.nn import functional as F

from videonl.layers.rows import empty_rows, in_eager_cpu

# Rows of the result worked on at a time: these stay in the cache.
_ROWS = 1024
# Rows per block of a running sum: inside a block it is a product with a triangle of ones.
_BLOCK = 64


def pair_relu_sum(a: Tensor, b: Tensor, values: Tensor, *, channels_first: bool = False) -> Tensor:
    """Σ_j ReLU(a_i + b_j) values_j for every query i.

    Args:
        a: (B, N) one score per query.
        b: (B, M) one score per key.
        values: (B, M, D).
        channels_first: memory layout of the result.

    Returns:
        (B, N, D).
    """
    if in_eager_cpu(values):
        return _PairReluSum.apply(a, b, values, channels_first)
    ordered, order = b.sort(dim=1)
    g = _take(values, order).to(_wide(values.dtype))
    sums, moments = _tables(ordered, g, b)
    first, reach = _look_up(a, ordered)
    return (reach.to(g.dtype)[:, :, None] * _take(sums, first) + _take(moments, first)).to(
        values.dtype
    )


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype in (torch.float32, torch.float64) else torch.float32


def _take(table: Tensor, rows: Tensor) -> Tensor:
    """Rows of each sample's table: (B, K, D), (B, n) -> (B, n, D)."""
    batch, size, channels = table.shape
    start = torch.arange(batch, device=table.device)[:, None] * size
    flat = table.reshape(batch * size, channels).index_select(0, (rows + start).flatten())
    return flat.unflatten(0, rows.shape)


def _running_sum(t: Tensor, *, reverse: bool) -> Tensor:
    """Inclusive prefix (or suffix) sums over dim 1 of (B, M, D).

    On the CPU in blocks, which is ten times as fast as ``cumsum`` over rows.
    """
    if not in_eager_cpu(t):
        return t.flip(1).cumsum(1).flip(1) if reverse else t.cumsum(1)
    batch, count, channels = t.shape
    t = F.pad(t, (0, 0, 0, -count % _BLOCK)).view(batch, -1, _BLOCK, channels)
    ones = torch.ones(_BLOCK, _BLOCK, dtype=t.dtype, device=t.device)
    inside = (ones.triu() if reverse else ones.tril()) @ t
    totals = inside[:, :, 0 if reverse else -1]
    carry = totals.flip(1).cumsum(1).flip(1) if reverse else totals.cumsum(1)
    inside += (carry - totals)[:, :, None]
    return inside.reshape(batch, -1, channels)[:, :count]


def _gaps(ordered: Tensor, dtype: torch.dtype) -> Tensor:
    """b_k - b_{k-1} for k ≥ 1, as (B, M - 1, 1); 0 where not finite, those keys are poison."""
    return ordered.to(dtype).diff(dim=1).nan_to_num(0.0, 0.0, 0.0)[:, :, None]


def _tables(ordered: Tensor, g: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """S and R of the module docstring for k = 0 ... M, both (B, M + 1, D)."""
    sums = _running_sum(g, reverse=True)
    moments = _running_sum(_gaps(ordered, g.dtype) * sums[:, 1:], reverse=True)
    # As in the reference form, where 0 · inf = NaN: what is not finite in one key spoils every
    # query. The poison is 0 if all is finite; a score of -inf is harmless, ReLU makes it 0.
    poison = 0 * sums[:, :1] + 0 * b.clamp(min=0).sum(1).to(g.dtype)[:, None, None]
    return F.pad(sums, (0, 0, 0, 1)), F.pad(moments, (0, 0, 0, 2)) + poison


def _look_up(a: Tensor, ordered: Tensor) -> tuple[Tensor, Tensor]:
    """The first key k that query i takes, (B, N), and its weight a_i + b_k (0 if none)."""
    count = ordered.shape[1]
    first = torch.searchsorted(ordered.detach(), -a.detach(), right=True)
    reach = a + ordered.gather(1, first.clamp(max=count - 1))
    reach = torch.where(first == count, torch.zeros_like(reach), reach)
    return first, reach + 0 * a.clamp(min=0)  # a query that is NaN or inf spoils itself


class _PairReluSum(Function):
    """Forward and backward at O((N + M) D); between them O(M D) is kept."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, values: Tensor, channels_first: bool) -> Tensor:
        ordered, order = b.sort(dim=1)
        wide = _take(values, order).to(_wide(values.dtype))
        sums, moments = (t.to(values.dtype) for t in _tables(ordered, wide, b))
        first, reach = _look_up(a, ordered)
        batch, count = a.shape
        out = empty_rows(batch, count, values.shape[2], values, first=channels_first)
        room, other = sums.new_empty(2, min(count, _ROWS), values.shape[2])
        for i in range(batch):
            for start in range(0, count, _ROWS):
                part = slice(start, start + _ROWS)
                k = first[i, part]
                rows = torch.index_select(sums[i], 0, k, out=room[: len(k)])
                rest = torch.index_select(moments[i], 0, k, out=other[: len(k)])
                out[i, part] = rest.addcmul_(rows, reach[i, part, None])
        ctx.save_for_backward(values, ordered, order, sums, first, reach)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, ordered, order, sums, first, reach = ctx.saved_tensors
        batch, count, channels = grad.shape
        wide = _wide(values.dtype)
        # Per key k: the sums of grad_i, and of reach_i · grad_i, over the queries that start there.
        plain = torch.zeros(batch, ordered.shape[1] + 1, channels, dtype=wide)
        weighted = torch.zeros_like(plain)
        grad_a = torch.empty_like(reach)
        room = sums.new_empty(min(count, _ROWS), channels)
        broad = plain.new_empty(min(count, _ROWS), channels)
        for i in range(batch):
            for start in range(0, count, _ROWS):
                part = slice(start, start + _ROWS)
                k = first[i, part]
                rows = broad[: len(k)].copy_(grad[i, part])
                plain[i].index_add_(0, k, rows)
                weighted[i].index_add_(0, k, rows.mul_(reach[i, part, None]))
                rows = torch.index_select(sums[i], 0, k, out=room[: len(k)])
                grad_a[i, part] = rows.mul_(grad[i, part]).sum(1)
        plain = _running_sum(plain[:, :-1], reverse=False)
        weighted = weighted[:, :-1]
        weighted[:, 1:] += _gaps(ordered, wide) * plain[:, :-1]
        grad_values = _running_sum(weighted, reverse=False)
        grad_b = (_take(values, order).to(wide) * plain).sum(2)
        back = order.argsort(dim=1)
        return (
            grad_a,
            grad_b.gather(1, back).to(values.dtype),
            _take(grad_values.to(values.dtype), back),
            None,
        )
