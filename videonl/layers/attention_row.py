"""The weights of one query over all keys, without the rest of the N x M matrix."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from videonl.layers.positions import pooled_shape, to_rows

if TYPE_CHECKING:
    from videonl.layers.non_local import NonLocalBlock


def attention_row(block: NonLocalBlock, x: Tensor, position: int | tuple[int, ...]) -> Tensor:
    """See :meth:`videonl.layers.NonLocalBlock.attention_row`."""
    return next(attention_rows(block, x, [position]))


@torch.no_grad()
def attention_rows(
    block: NonLocalBlock, x: Tensor, positions: Iterable[int | tuple[int, ...]]
) -> Iterator[Tensor]:
    """The rows of several queries, one at a time, in O(M·C) memory.

    The embedded keys are kept from one query to the next as long as they are the same: always,
    except for temporal groups, space-only and time-only attention.

    Args:
        block: the block.
        x: (B, C, *spatial) the features that the block gets.
        positions: the queries, as in ``NonLocalBlock.attention_row``.

    Yields:
        (B, *key positions).

    Raises:
        ValueError: a position outside of the map.
    """
    spatial = tuple(x.shape[2:])
    shape = pooled_shape(spatial, block.pool_kernel)
    seen: tuple[slice, ...] | None = None
    for position in positions:
        place = _unravel(position, spatial)
        where = _reach(block, place, shape, spatial)
        if where != seen:
            keys, seen = _keys(block, x, where), where
        query = x[(slice(None), slice(None), *(slice(i, i + 1) for i in place))]
        query = to_rows(block.theta(query) if block.affinity.embedded else query)
        weights = block.affinity.weights(query, to_rows(keys))
        row = x.new_zeros(x.shape[0], *shape)
        row[(slice(None), *where)] = weights[:, 0].reshape(x.shape[0], *keys.shape[2:]).to(x.dtype)
        yield row


def reachable(block: NonLocalBlock, x: Tensor, position: int | tuple[int, ...]) -> Tensor:
    """Which keys the query at ``position`` may look at: bool (*key positions)."""
    spatial = tuple(x.shape[2:])
    shape = pooled_shape(spatial, block.pool_kernel)
    seen = torch.zeros(shape, dtype=torch.bool, device=x.device)
    seen[_reach(block, _unravel(position, spatial), shape, spatial)] = True
    return seen


def _keys(block: NonLocalBlock, x: Tensor, where: tuple[slice, ...]) -> Tensor:
    """φ of the keys in ``where``, as a map (B, C', *key positions), in O(M·C) memory.

    The map is pooled place by place of the window: the maximum over all windows' first places,
    all their second places and so on. So φ before the pool is never held for all N positions.
    """
    kernel = block.pool_kernel
    embed = block.phi if block.affinity.embedded else _identity
    if kernel is None:
        return embed(x[(slice(None), slice(None), *where)])
    late = block.subsample_position == "after"
    largest: Tensor | None = None
    for offset in itertools.product(*(range(k) for k in kernel)):
        cut = (
            slice(s.start * k + o, (s.stop - 1) * k + o + 1, k)
            for s, o, k in zip(where, offset, kernel, strict=True)
        )
        places = x[(slice(None), slice(None), *cut)]
        places = embed(places) if late else places
        largest = places if largest is None else torch.maximum(largest, places)
    assert largest is not None
    return largest if late else embed(largest)


def _identity(x: Tensor) -> Tensor:
    return x


def _reach(
    block: NonLocalBlock, place: tuple[int, ...], keys: tuple[int, ...], spatial: tuple[int, ...]
) -> tuple[slice, ...]:
    """The part of the key map that the query at ``place`` may look at."""
    everything = tuple(slice(0, n) for n in keys)
    if block.dim < 3:
        return everything
    if block.attend == "time":
        return (everything[0], *(slice(i, i + 1) for i in place[1:]))
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
