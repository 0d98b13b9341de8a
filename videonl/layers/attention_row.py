"""The weights of one query over all keys, without the rest of the N x M matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from videonl.layers.positions import pool, to_rows

if TYPE_CHECKING:
    from videonl.layers.block import NonLocalBlock


def attention_row(block: NonLocalBlock, x: Tensor, position: int | tuple[int, ...]) -> Tensor:
    """See :meth:`videonl.layers.NonLocalBlock.attention_row`."""
    spatial = tuple(x.shape[2:])
    place = _unravel(position, spatial)
    query = x[(slice(None), slice(None), *(slice(i, i + 1) for i in place))]
    query = to_rows(block.theta(query) if block.affinity.embedded else query)
    keys = _keys(block, x)
    row = x.new_zeros(x.shape[0], *keys.shape[2:])
    where = _reach(block, place, tuple(keys.shape[2:]), spatial)
    near = keys[(slice(None), slice(None), *where)]
    weights = block.affinity.weights(query, to_rows(near))
    row[(slice(None), *where)] = weights[:, 0].reshape(x.shape[0], *near.shape[2:]).to(x.dtype)
    return row


def _keys(block: NonLocalBlock, x: Tensor) -> Tensor:
    """φ of the keys as a map (B, C', *key positions)."""
    kernel = block.pool_kernel
    if kernel is None or block.subsample_position == "after":
        keys = block.phi(x) if block.affinity.embedded else x
        return keys if kernel is None else pool(keys, kernel)
    pooled = pool(x, kernel)
    return block.phi(pooled) if block.affinity.embedded else pooled


def _reach(
    block: NonLocalBlock, place: tuple[int, ...], keys: tuple[int, ...], spatial: tuple[int, ...]
) -> tuple[slice, ...]:
    """The part of the key map that the query at ``place`` may look at."""
    everything = tuple(slice(None) for _ in keys)
    if block.dim < 3:
        return everything
    if block.attend == "time":
        return (slice(None), *(slice(i, i + 1) for i in place[1:]))
    groups = spatial[0] if block.attend == "space" else block.temporal_groups
    size = keys[0] // groups
    first = place[0] // (spatial[0] // groups) * size
    return (slice(first, first + size), *everything[1:])


def _unravel(position: int | tuple[int, ...], spatial: tuple[int, ...]) -> tuple[int, ...]:
    """A flat or per-dimension index as one index per dimension; negative ones count from the end.

    Raises:
        ValueError: outside of the map.
    """
    sizes = (math.prod(spatial),) if isinstance(position, int) else spatial
    given = (position,) if isinstance(position, int) else tuple(position)
    if len(given) != len(sizes) or any(not -n <= i < n for i, n in zip(given, sizes, strict=True)):
        raise ValueError(f"position={position!r} is outside of the map of size {spatial}.")
    place = tuple(i % n for i, n in zip(given, sizes, strict=True))
    if not isinstance(position, int):
        return place
    index, unraveled = place[0], []
    for size in reversed(spatial):
        unraveled.append(index % size)
        index //= size
    return tuple(reversed(unraveled))
