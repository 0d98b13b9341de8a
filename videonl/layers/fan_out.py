"""The three uses of the input of a block, with one gradient buffer between them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from videonl.layers.pooling import add_at_places, pool, pool_with_places
from videonl.layers.rows import in_eager_cpu


def fan_out(x: Tensor, kernel: tuple[int, ...] | None) -> tuple[Tensor, Tensor, Tensor]:
    """The input for the queries, for the residual and, max-pooled by ``kernel``, for the keys.

    Args:
        x: (B, C, *spatial).
        kernel: pool sizes, or None for no pooling.

    Returns:
        x, x and the pooled x. On the CPU their gradients meet in one map of memory instead of
        three.
    """
    hand_written = in_eager_cpu(x) and (kernel is None or math.prod(kernel) <= 256)
    if hand_written and x.requires_grad and torch.is_grad_enabled():
        # With stride = kernel the windows do not overlap, so no two gradients meet by accident.
        queries, residual, keys = _FanOut.apply(x, kernel)
        return queries, residual, keys
    return x, x, x if kernel is None else pool(x, kernel)


class _FanOut(Function):
    """Identity, identity and max pooling; the backward pass scatters into the first sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: tuple[int, ...] | None) -> tuple[Tensor, ...]:
        ctx.kernel, ctx.shape = kernel, x.shape
        ctx.set_materialize_grads(False)
        if kernel is None:
            return x.view_as(x), x.view_as(x), x.view_as(x)
        pooled, places = pool_with_places(x, kernel)
        ctx.save_for_backward(places)
        return x.view_as(x), x.view_as(x), pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        queries, residual, keys = grads
        total: Tensor | None
        if queries is not None and residual is not None:
            total = queries + residual
        else:
            one = queries if residual is None else residual
            total = None if one is None else one.clone()
        if keys is None:
            return total, None
        if ctx.kernel is None:
            return keys if total is None else total.add_(keys), None
        if total is None:
            total = keys.new_zeros(ctx.shape)
        (places,) = ctx.saved_tensors
        add_at_places(total, keys, places, ctx.kernel)
        return total, None
