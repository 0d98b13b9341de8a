"""The three uses of the input of a block, with one gradient buffer between them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from videonl.layers.positions import pool, pool_with_index
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
    if in_eager_cpu(x) and x.requires_grad and torch.is_grad_enabled():
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
        pooled, index = pool_with_index(x, kernel)
        ctx.save_for_backward(index.to(torch.int32) if index.numel() < 2**31 else index)
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
        (index,) = ctx.saved_tensors
        if total.is_contiguous():
            total.flatten(2).scatter_add_(2, index.flatten(2).long(), keys.flatten(2))
            return total, None
        for window, place in _windows(total, index, ctx.kernel):
            window.add_(torch.where(place, keys, 0))
        return total, None


def _windows(x: Tensor, index: Tensor, kernel: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    """For every place in the pool window: that place of all windows, and where it was the maximum.

    Args:
        x: (B, C, *spatial).
        index: (B, C, *pooled), flat positions of the maxima.
        kernel: pool sizes.
    """
    flat = torch.arange(math.prod(x.shape[2:]), device=x.device).view(x.shape[2:])
    for offset in itertools.product(*(range(k) for k in kernel)):
        cut = tuple(
            slice(o, o + k * n, k) for o, k, n in zip(offset, kernel, index.shape[2:], strict=True)
        )
        yield x[(slice(None), slice(None), *cut)], index == flat[cut]
