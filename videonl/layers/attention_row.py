"""The weights of one query over all keys, without the rest of the N x M matrix."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from videonl.layers.positions import pooled_shape, to_rows

if TYPE_CHECKING:
    from videonl.layers.non_local import NonLocalBlock

_ALL = (slice(None), slice(None))  # samples and channels


@torch.no_grad()
def attention_rows(
    block: NonLocalBlock, x: Tensor, positions: Iterable[int | tuple[int, ...]]
) -> Iterator[Tensor]:
    """The rows of several queries, one at a time, in O(M·C) memory: the keys are embedded once.

    Args:
        block: the block.
        x: (B, C, *spatial) the features that the block gets.
        positions: the queries, as in ``NonLocalBlock.attention_row``.

    Yields:
        (B, *key positions).

    Raises:
        ValueError: a position outside of the map.
    """
    keys = _keys(block, x)  # (B, C', *key positions)
    for position in positions:
        place, where = _place_and_reach(block, x, position)
        query = x[(*_ALL, *(slice(i, i + 1) for i in place))]  # (B, C, 1, ..)
        query = to_rows(block.theta(query) if block.affinity.embedded else query)
        near = keys[(*_ALL, *where)]
        weights = block.affinity.weights(query, to_rows(near))  # (B, 1, keys in reach)
        row = x.new_zeros(x.shape[0], *keys.shape[2:])
        row[(slice(None), *where)] = weights.reshape(x.shape[0], *near.shape[2:]).to(x.dtype)
        yield row


def reachable(block: NonLocalBlock, x: Tensor, position: int | tuple[int, ...]) -> Tensor:
    """Which keys the query at ``position`` may look at: bool (*key positions)."""
    shape = pooled_shape(tuple(x.shape[2:]), block.pool_kernel)
    seen = torch.zeros(shape, dtype=torch.bool, device=x.device)
    seen[_place_and_reach(block, x, position)[1]] = True
    return seen


def _keys(block: NonLocalBlock, x: Tensor) -> Tensor:
    """φ of the keys as a map (B, C', *key positions), in O(M·C) memory.

    A pool after φ takes the maximum over all windows' first places, all their second places and so
    on: φ is never held for all N positions.
    """
    embed = block.phi if block.affinity.embedded else nn.Identity()
    kernel = block.pool_kernel
    if kernel is None or block.subsample_position == "before":
        return embed(block.pool(x))
    ends = [n // k * k for n, k in zip(x.shape[2:], kernel, strict=True)]
    parts = (
        embed(x[(*_ALL, *map(slice, offset, ends, kernel))])
        for offset in itertools.product(*map(range, kernel))
    )
    return functools.reduce(torch.maximum, parts)


def _place_and_reach(
    block: NonLocalBlock, x: Tensor, position: int | tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """The query's index per dimension, and the part of the key map that it may look at."""
    spatial = tuple(x.shape[2:])
    place = _unravel(position, spatial)
    everywhere = [slice(0, n) for n in pooled_shape(spatial, block.pool_kernel)]
    if block.dim < 3:
        return place, tuple(everywhere)
    if block.attend == "time":
        return place, (everywhere[0], *(slice(i, i + 1) for i in place[1:]))
    groups = spatial[0] if block.attend == "space" else block.temporal_groups
    size = everywhere[0].stop // groups
    first = place[0] // (spatial[0] // groups) * size
    return place, (slice(first, first + size), *everywhere[1:])


def _unravel(position: int | tuple[int, ...], spatial: tuple[int, ...]) -> tuple[int, ...]:
    """A flat or per-dimension index as one index per dimension; negative ones count from the end.

    Raises:
        ValueError: outside of the map.
    """
    sizes = (math.prod(spatial),) if isinstance(position, int) else spatial
    given = (position,) if isinstance(position, int) else tuple(position)
    if len(given) != len(sizes) or any(not -n <= i < n for i, n in zip(given, sizes, strict=True)):
        raise ValueError(f"position={position!r} is outside of the map of size {spatial}.")
    if not isinstance(position, int):
        return tuple(i % n for i, n in zip(given, sizes, strict=True))
    return tuple(int(i) for i in torch.unravel_index(torch.tensor(position % sizes[0]), spatial))
