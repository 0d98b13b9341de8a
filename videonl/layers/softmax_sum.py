"""Σ_j softmax_j(scale · q_iᵀ k_j) v_j, exact, without the N x M matrix."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def softmax_sum(queries: Tensor, keys: Tensor, values: Tensor, *, scale: float) -> Tensor:
    """Fused attention of one head.

    Args:
        queries: (B, N, C).
        keys: (B, M, C).
        values: (B, M, D).
        scale: factor on the logits.

    Returns:
        (B, N, D).
    """
    # CPU attention holds the whole N x M matrix unless the last dimension is contiguous.
    q, k, v = (t.contiguous()[:, None] for t in (queries, keys, values))
    return scaled_dot_product_attention(q, k, v, scale=scale)[:, 0]
