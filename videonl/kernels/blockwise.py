"""Any pairwise function in memory linear in N + M: blocks of queries, in plain operators."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from videonl.kernels.operands import Operands

# Entries of the N x M matrix that one block may hold.
BLOCK_ENTRIES = 1 << 21


def blockwise_sum(op: Operands) -> Tensor:
    """The literal sum, each block computed again in the backward pass -> (B, N, C_out)."""
    queries, keys, values = op.embedded()
    rows = max(1, BLOCK_ENTRIES // max(1, keys.shape[0] * keys.shape[1]))

    def one_block(block: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return op.weights(block, keys) @ values  # (B, n, D)

    blocks = queries.split(rows, dim=1)
    if len(blocks) == 1 or not op.learns:
        parts = [one_block(block, keys, values) for block in blocks]
    else:
        parts = [checkpoint(one_block, b, keys, values, use_reentrant=False) for b in blocks]
    return op.out(torch.cat(parts, dim=1))
