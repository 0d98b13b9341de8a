"""Σ_j ReLU(a_i + b_j) g_j in O((N + M)(log M + D)): sort the keys, prefix sums, binary search."""

from __future__ import annotations

import torch
from torch import Tensor


def _gather_rows(table: Tensor, rows: Tensor) -> Tensor:
    return table.gather(1, rows[:, :, None].expand(-1, -1, table.shape[2]))


def pair_relu_sum(a: Tensor, b: Tensor, values: Tensor) -> Tensor:
    """The sum over the keys with b_j > -a_i of (a_i + b_j) g_j.

    Args:
        a: (B, N) one score per query.
        b: (B, M) one score per key.
        values: (B, M, D).

    Returns:
        (B, N, D).
    """
    ordered, order = b.sort(dim=1)
    g = _gather_rows(values, order)
    # Prefix sums in float64 (float32 for half types): neighbours in the table cancel.
    wide = torch.float64 if b.dtype in (torch.float32, torch.float64) else torch.float32
    g = g.to(wide)
    tables = torch.cat([g, g * ordered.to(wide)[:, :, None]], dim=2)
    suffix = tables.flip(1).cumsum(1).flip(1)
    suffix = torch.nn.functional.pad(suffix, (0, 0, 0, 1))
    first = torch.searchsorted(ordered.detach(), -a.detach(), right=True)
    total, moment = _gather_rows(suffix, first).chunk(2, dim=2)
    return (a.to(wide)[:, :, None] * total + moment).to(values.dtype)
