"""Where positions are: from maps (B, C, *spatial) to rows (B, N, C), groups of them, and back.

Rows run over time slowest and width fastest, so a temporal group is a slice of the rows.
"""

from __future__ import annotations

import math
from operator import floordiv

from torch import Tensor, nn
from torch.nn import functional as F

ATTEND = ("spacetime", "space", "time")
# In one, two and three dimensions.
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
POOLS = (F.max_pool1d, F.max_pool2d, F.max_pool3d)


def pool_kernel(
    subsample: bool | int | tuple[int, ...], *, dim: int, attend: str
) -> tuple[int, ...] | None:
    """The max-pool kernel (= stride) that ``subsample`` means, or None for no sub-sampling.

    True is the paper's: 2 in every spatial direction, 1 in time. Attention along time has its own
    keys at each place, so there True means none.

    Raises:
        ValueError: a kernel of the wrong length, or one that pools space in attention along time.
    """
    if subsample is False:
        return None
    if subsample is True:
        if attend == "time":
            return None
        return (1, 2, 2) if dim == 3 else (2,) * dim
    kernel = (subsample,) * dim if isinstance(subsample, int) else tuple(subsample)
    if len(kernel) != dim or min(kernel) < 1:
        raise ValueError(f"subsample={subsample!r} must be a bool or {dim} sizes of at least 1.")
    if attend == "time" and max(kernel[1:]) > 1:
        raise ValueError(f"subsample={subsample!r} pools space, but attend='time' keeps places.")
    if attend == "space" and dim == 3 and kernel[0] > 1:
        raise ValueError(f"subsample={subsample!r} pools time, but attend='space' keeps frames.")
    return None if max(kernel) == 1 else kernel


def pooled_shape(spatial: tuple[int, ...], kernel: tuple[int, ...] | None) -> tuple[int, ...]:
    """The spatial shape after pooling."""
    if kernel is None:
        return spatial
    return tuple(map(floordiv, spatial, kernel))


def pool_rows(rows: Tensor, spatial: tuple[int, ...], kernel: tuple[int, ...] | None) -> Tensor:
    """Max-pool rows (B, N, C) of a map of the shape ``spatial`` -> (B, M, C).

    Time that is not pooled joins the batch: torch has fast channels-last kernels in two
    dimensions. Odd ends are dropped, as published.
    """
    if kernel is None:
        return rows
    batch, _, channels = rows.shape
    if len(kernel) == 1:
        spatial, kernel = (1, *spatial), (1, *kernel)
    elif len(kernel) == 3 and kernel[0] == 1:
        spatial, kernel = spatial[1:], kernel[1:]
        rows = rows.reshape(-1, math.prod(spatial), channels)  # (B · T, H · W, C)
    maps = rows.unflatten(1, spatial).movedim(-1, 1)
    pooled = POOLS[len(kernel) - 1](maps, kernel)  # (B, C, *pooled)
    return pooled.movedim(1, -1).reshape(batch, -1, channels)


def to_rows(x: Tensor) -> Tensor:
    """(B, C, *spatial) -> (B, N, C), a view; contiguous if x is channels-last.

    The order of the steps matters: it keeps the strides of the gradient canonical also for
    B = 1, without which batch norm and pooling fall back to a path five times as slow.
    """
    if x.stride(1) == 1:
        return x.movedim(1, -1).flatten(1, -2)
    return x.flatten(2).transpose(1, 2)


def to_map(rows: Tensor, spatial: tuple[int, ...]) -> Tensor:
    """(B, N, C) -> (B, C, *spatial), a view; channels-last if the rows are contiguous."""
    if rows.stride(2) == 1:
        return rows.unflatten(1, spatial).movedim(-1, 1)
    return rows.transpose(1, 2).unflatten(2, spatial)


def split_groups(rows: Tensor, spatial: tuple[int, ...], groups: int, attend: str) -> Tensor:
    """(B, N, C) -> (B', n, C): positions that may attend to each other share a batch entry."""
    batch, _, channels = rows.shape
    if attend == "time":
        frames, places = spatial[0], math.prod(spatial[1:])
        rows = rows.reshape(batch, frames, places, channels).transpose(1, 2)
        return rows.reshape(batch * places, frames, channels)
    groups = spatial[0] if attend == "space" and len(spatial) == 3 else groups
    return rows if groups == 1 else rows.reshape(batch * groups, -1, channels)


def join_groups(rows: Tensor, spatial: tuple[int, ...], *, batch: int, attend: str) -> Tensor:
    """The inverse of :func:`split_groups`: (B', n, C) -> (B, N, C)."""
    if attend == "time":
        frames, places = spatial[0], math.prod(spatial[1:])
        rows = rows.reshape(batch, places, frames, -1).transpose(1, 2)
    elif rows.shape[0] == batch:
        return rows
    return rows.reshape(batch, math.prod(spatial), -1)


def make_norm(norm: object, channels: int, dim: int) -> nn.Module | None:
    """The normalisation after the output projection: "batch", None, a module or a factory.

    Raises:
        ValueError: anything else.
    """
    if norm is None or isinstance(norm, nn.Module):
        return norm
    if norm == "batch":
        return BATCH_NORMS[dim - 1](channels)
    if callable(norm):
        made = norm(channels)
        if made is None or isinstance(made, nn.Module):
            return made
    raise ValueError(f"norm={norm!r} must be 'batch', None, a module or a function of channels.")
