"""The operation as the paper writes it, for any f: through the N x M matrix, or blocks of its rows.

The first is the reference for every form; the second takes memory linear in N + M.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from videonl.kernels.operands import Operands


def literal_sum(op: Operands) -> Tensor:
    """W_z (f(θx, φx) / C) gx -> (B, N, C_out), equations 1 and 6."""
    queries, keys, values = op.embedded()
    return op.out(op.weights(queries, keys) @ values)  # (B, N, M) @ (B, M, D)


def blockwise_sum(op: Operands, *, entries: int) -> Tensor:
    """The same, ``entries`` of the matrix at a time, computed again in the backward pass."""
    queries, keys, values = op.embedded()
    rows = max(1, entries // max(1, keys.shape[0] * keys.shape[1]))

    def one_block(block: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return op.weights(block, keys) @ values  # (B, n, D)

    blocks = queries.split(rows, dim=1)
    if len(blocks) == 1 or not op.learns:
        parts = [one_block(block, keys, values) for block in blocks]
    else:
        parts = [checkpoint(one_block, b, keys, values, use_reentrant=False) for b in blocks]
    return op.out(torch.cat(parts, dim=1))
