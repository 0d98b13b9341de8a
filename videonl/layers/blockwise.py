"""A sum over the keys for any affinity, block of queries by block, in memory linear in N + M."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Entries of the N x M matrix that one block may hold.
BLOCK_ENTRIES = 1 << 21


def blockwise_sum(
    weights: Callable[[Tensor, Tensor], Tensor], queries: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """Σ_j weights(queries, keys)_ij values_j without the whole matrix.

    Each block of queries is computed on its own and computed again in the backward pass.

    Args:
        weights: (B, n, C), (B, M, C) -> (B, n, M), row by row independent.
        queries: (B, N, C).
        keys: (B, M, C).
        values: (B, M, D).

    Returns:
        (B, N, D).
    """
    rows = max(1, BLOCK_ENTRIES // max(1, keys.shape[0] * keys.shape[1]))

    def one_block(block: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return weights(block, keys) @ values

    blocks = queries.split(rows, dim=1)
    if len(blocks) == 1 or not torch.is_grad_enabled():
        return torch.cat([one_block(block, keys, values) for block in blocks], dim=1)
    # checkpoint returns Any.
    parts: list[Tensor] = [
        checkpoint(one_block, block, keys, values, use_reentrant=False) for block in blocks
    ]
    return torch.cat(parts, dim=1)
