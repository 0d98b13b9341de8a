"""Max pooling whose windows do not overlap, with its places in one byte each.

torch's CPU kernel for a contiguous map goes through the windows one by one and keeps eight bytes
per maximum. Here slices of the map are compared whole (measured, 512 x 16x28x28, kernel 1x2x2, one
thread: 34 -> 13 ms), and a place is the number of the maximum within its window.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable
from torch.nn import functional as F

from videonl.layers.rows import has_only_finite, in_eager_cpu

_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
# Entries of the map that the backward pass addresses at a time.
_ENTRIES = 1 << 19


def pool(x: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Max-pool (B, C, *spatial) with stride = kernel; odd ends are dropped, as published."""
    if in_eager_cpu(x) and math.prod(kernel) <= 256:
        learns = torch.is_grad_enabled() and x.requires_grad
        return _MaxPool.apply(x, kernel) if learns else _largest_of_windows(x, kernel)
    return _POOLS[x.dim() - 2](x, kernel)


def pool_with_places(x: Tensor, kernel: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """:func:`pool`, and for every maximum its number within the window.

    Args:
        x: (B, C, *spatial).
        kernel: pool sizes, of at most 256 places.

    Returns:
        (B, C, *pooled) and the same shape in uint8; the first of equal maxima counts.
    """
    pooled = _largest_of_windows(x, kernel)
    if not has_only_finite(pooled):
        return _literal(x, kernel)
    # The number of places before the first that equals the maximum.
    places = torch.zeros_like(pooled, dtype=torch.uint8)
    for window in reversed(list(_windows(x, kernel))[:-1]):
        places.add_(1).mul_((window != pooled).view(torch.uint8))
    return pooled, places


def add_at_places(total: Tensor, gradient: Tensor, places: Tensor, kernel: tuple[int, ...]) -> None:
    """Add the gradient of the pooled map at the maxima, in place.

    Args:
        total: (B, C, *spatial), changed.
        gradient: (B, C, *pooled).
        places: of :func:`pool_with_places`.
        kernel: pool sizes.
    """
    if not total.is_contiguous():
        for number, window in enumerate(_windows(total, kernel)):
            window.add_(torch.where(places == number, gradient, 0))
        return
    spatial = total.shape[2:]
    flat = torch.arange(math.prod(spatial)).view(1, 1, *spatial)
    windows = list(_windows(flat, kernel))
    corner = windows[0].reshape(-1)
    offsets = torch.stack([window.reshape(-1)[0] for window in windows])
    maps, places = total.view(-1, math.prod(spatial)), places.flatten(0, 1).flatten(1)
    rows = max(1, _ENTRIES // len(corner))
    for start in range(0, len(maps), rows):
        part = slice(start, start + rows)
        index = offsets.index_select(0, places[part].int().flatten()).view(-1, len(corner))
        index.add_(corner)
        maps[part].scatter_add_(1, index, gradient.flatten(0, 1)[part].flatten(1))


def _largest_of_windows(x: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """The maxima, one dimension after the other; a NaN is the largest, as in torch's pooling."""
    for d, size in enumerate(kernel):
        if size > 1:
            x = _largest(x, dim=2 + d, size=size)
    return x


def _largest(x: Tensor, *, dim: int, size: int) -> Tensor:
    """The maximum of every ``size`` neighbours along one dimension."""
    end = x.shape[dim] // size * size
    parts = [x[(slice(None),) * dim + (slice(i, end, size),)] for i in range(size)]
    largest = torch.maximum(parts[0], parts[1])
    for part in parts[2:]:
        torch.maximum(largest, part, out=largest)
    return largest


def _windows(x: Tensor, kernel: tuple[int, ...]) -> Iterator[Tensor]:
    """For every place in the window: that place of all windows, (B, C, *pooled)."""
    pooled = [n // k for n, k in zip(x.shape[2:], kernel, strict=True)]
    for offset in itertools.product(*(range(k) for k in kernel)):
        cut = (slice(o, o + k * n, k) for o, k, n in zip(offset, kernel, pooled, strict=True))
        yield x[(slice(None), slice(None), *cut)]


def _literal(x: Tensor, kernel: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The same through torch's own pooling, which settles what the maximum of a NaN is."""
    pooled, index = _POOLS[x.dim() - 2](x, kernel, return_indices=True)
    places = torch.zeros_like(pooled, dtype=torch.uint8)
    flat = torch.arange(math.prod(x.shape[2:])).view(1, 1, *x.shape[2:])
    for number, window in enumerate(_windows(flat, kernel)):
        places.masked_fill_(index == window, number)
    return pooled, places


class _MaxPool(Function):
    """Pooling that keeps a byte per maximum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: tuple[int, ...]) -> Tensor:
        pooled, places = pool_with_places(x, kernel)
        ctx.save_for_backward(places)
        ctx.kernel, ctx.like = kernel, (x.shape, x.stride())
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        shape, stride = ctx.like
        total = torch.empty_strided(shape, stride, dtype=grad.dtype).zero_()
        add_at_places(total, grad, places, ctx.kernel)
        return total, None
