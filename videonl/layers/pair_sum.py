"""Σ_j ReLU(a_i + b_j) g_j in O((N + M)(log M + D)): sort the keys, prefix sums, binary search.

Sort the keys by b. Query i takes the keys from k = (the first with b_k > -a_i) on, so with the
suffix sums S_k = Σ_{j≥k} g_j and R_k = Σ_{j≥k} (b_j - b_k) g_j its sum is

    Σ_j ReLU(a_i + b_j) g_j = (a_i + b_k) S_k + R_k.

Both factors of every term are non-negative weights, so nothing large cancels, as it would between
a_i S_k and Σ b_j g_j. The sums run in float64 (float32 for half types); where a_i + b_j = 0 the
derivative is 0, as that of ReLU in the reference form.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable
from torch.nn import functional as F

from videonl.layers.rows import empty_rows, in_eager_cpu

# Entries of the result worked on at a time: some channels of all rows, so that every table stays
# in the cache and a channels-first result is written in whole rows of its own.
_ENTRIES = 1 << 20
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
    """Forward and backward at O((N + M) D), some channels at a time; O(M D) is kept between."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, values: Tensor, channels_first: bool) -> Tensor:
        ordered, order = b.sort(dim=1)
        first, reach = _look_up(a, ordered)
        batch, count, channels = *a.shape, values.shape[2]
        sums = values.new_empty(batch, b.shape[1] + 1, channels)
        out = empty_rows(batch, count, channels, values, first=channels_first)
        for i in range(batch):
            for part in _channel_parts(count, channels):
                g = values[i, :, part].index_select(0, order[i]).to(_wide(values.dtype))
                tables = _tables(ordered[i : i + 1], g[None], b[i : i + 1])
                sums[i, :, part], moments = tables[0][0], tables[1][0].to(values.dtype)
                rows = sums[i, :, part].index_select(0, first[i])
                rows.mul_(reach[i, :, None]).add_(moments.index_select(0, first[i]))
                _write(rows, out[i, :, part])
        ctx.save_for_backward(values, ordered, order, sums, first, reach)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, ordered, order, sums, first, reach = ctx.saved_tensors
        batch, count, channels = grad.shape
        wide = _wide(values.dtype)
        grad_a, grad_values = torch.zeros_like(reach), torch.empty_like(values)
        sorted_b = torch.zeros_like(ordered, dtype=wide)
        gaps = _gaps(ordered, wide)
        for i in range(batch):
            starts, queries = _starts(first[i], ordered.shape[1])
            weights = reach[i].to(wide)[queries]
            for part in _channel_parts(count, channels):
                rows = grad[i, :, part].contiguous()
                reached = sums[i, :, part].index_select(0, first[i])
                grad_a[i] += reached.mul_(rows).sum(1)
                # Per key: the sums of grad, and of reach · grad, over the queries that start there.
                rows = rows.to(wide)
                plain = F.embedding_bag(queries, rows, starts, mode="sum")
                weighted = F.embedding_bag(
                    queries, rows, starts, mode="sum", per_sample_weights=weights
                )
                plain = _running_sum(plain[None], reverse=False)[0]
                weighted[1:] += gaps[i] * plain[:-1]
                change = _running_sum(weighted[None], reverse=False)[0].to(values.dtype)
                grad_values[i, :, part].index_copy_(0, order[i], change)
                ranked = values[i, :, part].index_select(0, order[i]).to(wide)
                sorted_b[i] += ranked.mul_(plain).sum(1)
        grad_b = torch.empty_like(sorted_b).scatter_(1, order, sorted_b)
        return grad_a, grad_b.to(values.dtype), grad_values, None


def _write(rows: Tensor, out: Tensor) -> None:
    """Copy (n, D); into a channels-first result as a transposition, which torch does in tiles."""
    if out.stride(0) == 1:
        out.t().copy_(rows.t())
    else:
        out.copy_(rows)


def _channel_parts(count: int, channels: int) -> Iterator[slice]:
    width = max(8, min(64, _ENTRIES // count))
    return (slice(start, start + width) for start in range(0, channels, width))


def _starts(first: Tensor, keys: int) -> tuple[Tensor, Tensor]:
    """The queries in the order of their first key, and where those of each key start.

    Queries that take no key have weight and sums of zero, and are left out.
    """
    ordered, queries = first.sort()
    starts = torch.searchsorted(ordered, torch.arange(keys + 1, device=first.device))
    return starts[:-1], queries[: int(starts[-1])]
