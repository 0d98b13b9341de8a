"""Dot product: matrix products associate, so the N x M matrix is never needed.

W_z (θ φᵀ / M) g = x · W_θᵀ (φᵀ g / M) W_zᵀ        φᵀ g is C x D, whatever N and M
"""

from __future__ import annotations

import torch
from torch import Tensor

from videonl.kernels.operands import Operands


def associated_sum(op: Operands) -> Tensor:
    """W_z (θ φᵀ / M) g -> (B, N, C_out), in the order with the fewest multiplications."""
    keys, values = op.keys_and_values()
    room = keys.detach()[:, :1, :1]  # ignored: beta is 0
    mixed = torch.baddbmm(room, keys.mT, values, beta=0, alpha=1 / keys.shape[1])  # (B, C, D)
    inputs, inner, depth = op.queries.shape[2], op.width, op.depth
    if op.out.weight is None or op.theta.weight is None:
        return op.out(op.theta(op.queries) @ mixed)
    outputs, count = op.out.weight.shape[0], op.queries.shape[1]
    fold = inner * depth * outputs
    none = count * (inputs * inner + inner * depth + depth * outputs)
    out_only = count * inner * (inputs + outputs) + fold
    both = count * inputs * outputs + fold + inputs * inner * outputs
    if none <= out_only and none <= both:
        return op.out(op.theta(op.queries) @ mixed)  # (B, N, C) @ (B, C, D)
    mixed = mixed @ op.out.weight.mT  # (B, C, C_out)
    if out_only <= both:
        y = op.theta(op.queries)  # (B, N, C)
        return y @ mixed if op.out.bias is None else torch.baddbmm(op.out.bias, y, mixed)
    shift = op.out.bias
    if op.theta.bias is not None:
        moved = (op.theta.bias @ mixed)[:, None]  # (B, 1, C_out)
        shift = moved if shift is None else moved + shift
    mixed = op.theta.weight.mT @ mixed  # (B, C_in, C_out)
    return op.queries @ mixed if shift is None else torch.baddbmm(shift, op.queries, mixed)
