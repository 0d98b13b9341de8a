"""The non-local block: z_i = W_z y_i + x_i (PAPER section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from videonl.layers.affinity import Affinity, resolve_affinity
from videonl.layers.choice import fast_is_cheaper
from videonl.layers.positions import (
    ATTEND,
    join_groups,
    make_norm,
    pool,
    pool_kernel,
    pooled_shape,
    split_groups,
    to_map,
    to_rows,
)

IMPLEMENTATIONS = ("auto", "fast", "reference")
_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class NonLocalBlock(nn.Module):
    """Every position looks at every position: z_i = W_z y_i + x_i, y_i = 1/C Σ_j f(x_i, x_j) g_j.

    Starts as the identity (``zero_init``), so it can be put into any trained network.

    Args:
        in_channels: channels of the features.
        dim: 1 (sequence), 2 (image) or 3 (video) spatial dimensions.
        affinity: "gaussian", "embedded_gaussian", "dot_product", "concatenation" or a subclass
            of :class:`~videonl.layers.Affinity`.
        inner_channels: width of θ, φ and g; half of ``in_channels`` by default (section 3.3).
        subsample: max-pool the keys by 2 in space, as in the paper; False for none; or the pool
            sizes per dimension.
        subsample_position: "before" φ and g (authors' released code) or "after" (paper).
        use_scale: embedded Gaussian only: multiply the logits by 1/sqrt(inner_channels), as the
            authors' released code does; the paper's formula has no such factor.
        out_bias: whether the output projection W_z has a bias.
        norm: after W_z: "batch", None, a module, or a function from channels to a module.
        zero_init: zero the scale and shift of the norm (or W_z, if there is no norm).
        temporal_groups: cut time into this many groups; attention stays within a group.
        attend: "spacetime", "space" (within a frame) or "time" (within a place), Table 2d.
        implementation: "reference" builds the N x M matrix, "fast" never does, both are exact;
            "auto" takes the cheaper one.

    Shape:
        (B, C, *spatial) -> the same, with ``dim`` spatial dimensions (T, H, W for video).

    Raises:
        ValueError: an option or an input that does not fit, named in the message.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: int = 3,
        affinity: str | type[Affinity] = "embedded_gaussian",
        inner_channels: int | None = None,
        subsample: bool | int | tuple[int, ...] = True,
        subsample_position: str = "before",
        use_scale: bool = True,
        out_bias: bool = True,
        norm: str | nn.Module | Callable[[int], nn.Module | None] | None = "batch",
        zero_init: bool = True,
        temporal_groups: int = 1,
        attend: str = "spacetime",
        implementation: str = "auto",
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("dim", dim, tuple(_CONVOLUTIONS)),
            ("subsample_position", subsample_position, ("before", "after")),
            ("attend", attend, ATTEND),
            ("implementation", implementation, IMPLEMENTATIONS),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r} must be one of {allowed}.")
        if dim != 3 and (temporal_groups != 1 or attend == "time"):
            raise ValueError(f"temporal_groups and attend='time' need dim=3, got dim={dim}.")
        affinity_class = resolve_affinity(affinity)
        inner = max(1, in_channels // 2) if inner_channels is None else inner_channels
        self.in_channels = in_channels
        self.inner_channels = inner
        self.dim = dim
        self.pool_kernel = pool_kernel(subsample, dim=dim, attend=attend)
        self.subsample_position = subsample_position
        self.temporal_groups = temporal_groups
        self.attend = attend
        self.implementation = implementation
        convolution = _CONVOLUTIONS[dim]
        if affinity_class.embedded:
            self.theta = convolution(in_channels, inner, 1)
            self.phi = convolution(in_channels, inner, 1)
        self.g = convolution(in_channels, inner, 1)
        self.affinity = affinity_class(inner, use_scale=use_scale)
        self.out = convolution(inner, in_channels, 1, bias=out_bias)
        self.norm = make_norm(norm, in_channels, dim)
        self.reset_parameters(zero_init=zero_init)

    @torch.no_grad()
    def reset_parameters(self, *, zero_init: bool = True) -> None:
        """Normal weights of 0.01 and zero biases, as the authors; then zero the last step."""
        for name in ("theta", "phi", "g", "out"):
            convolution = getattr(self, name, None)
            if convolution is not None:
                nn.init.normal_(convolution.weight, std=0.01)
                if convolution.bias is not None:
                    nn.init.zeros_(convolution.bias)
        if not zero_init:
            return
        scale = getattr(self.norm, "weight", None)
        last = self.out if scale is None else self.norm
        for parameter in (last.weight, getattr(last, "bias", None)):
            if parameter is not None:
                parameter.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) -> the same shape."""
        self._check(x)
        queries, keys, values = self._embed(x)
        spatial = tuple(x.shape[2:])
        y = self._sum(queries, keys, values)
        y = join_groups(y, spatial, batch=x.shape[0], attend=self.attend)
        z = self.out(to_map(y, spatial))
        return x + (z if self.norm is None else self.norm(z))

    @torch.no_grad()
    def attention_row(self, x: Tensor, position: int | tuple[int, ...]) -> Tensor:
        """f(x_i, x_j)/C(x) of one query position i over all keys j, in O(M·C) memory.

        Args:
            x: (B, C, *spatial) the features that the block gets.
            position: the query, as (t, h, w) or as the index in the flattened positions.

        Returns:
            (B, *key positions): the weights over the (sub-sampled) keys; zero at the keys that
            ``temporal_groups`` or ``attend`` keep out.
        """
        self._check(x)
        spatial = tuple(x.shape[2:])
        place = _unravel(position, spatial)
        query = x[(slice(None), slice(None), *(slice(i, i + 1) for i in place))]
        query = to_rows(self.theta(query) if self.affinity.embedded else query)
        keys = self._keys(x)
        row = x.new_zeros(x.shape[0], *keys.shape[2:])
        where = self._reach(place, tuple(keys.shape[2:]), spatial)
        near = keys[(slice(None), slice(None), *where)]
        weights = self.affinity.weights(query, to_rows(near))
        row[(slice(None), *where)] = weights[:, 0].reshape(x.shape[0], *near.shape[2:]).to(x.dtype)
        return row

    def extra_repr(self) -> str:
        """The options that the child modules do not show."""
        return (
            f"{self.in_channels}, inner={self.inner_channels}, pool={self.pool_kernel} "
            f"{self.subsample_position}, groups={self.temporal_groups}, attend={self.attend}, "
            f"implementation={self.implementation}"
        )

    def _reach(
        self, place: tuple[int, ...], keys: tuple[int, ...], spatial: tuple[int, ...]
    ) -> tuple[slice, ...]:
        """The part of the key map that the query at ``place`` may look at."""
        everything = tuple(slice(None) for _ in keys)
        if self.dim < 3:
            return everything
        if self.attend == "time":
            return (slice(None), *(slice(i, i + 1) for i in place[1:]))
        groups = spatial[0] if self.attend == "space" else self.temporal_groups
        size = keys[0] // groups
        first = place[0] // (spatial[0] // groups) * size
        return (slice(first, first + size), *everything[1:])

    def _keys(self, x: Tensor) -> Tensor:
        if self.pool_kernel is None or self.subsample_position == "after":
            keys = self.phi(x) if self.affinity.embedded else x
            return keys if self.pool_kernel is None else pool(keys, self.pool_kernel)
        pooled = pool(x, self.pool_kernel)
        return self.phi(pooled) if self.affinity.embedded else pooled

    def _embed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B', n, C'), keys (B', m, C') and values (B', m, C'), by group."""
        embedded = self.affinity.embedded
        queries = self.theta(x) if embedded else x
        source = x
        if self.pool_kernel is not None and self.subsample_position == "before":
            source = pool(x, self.pool_kernel)
        keys = self.phi(source) if embedded else source
        values = self.g(source)
        if self.pool_kernel is not None and self.subsample_position == "after":
            keys, values = pool(keys, self.pool_kernel), pool(values, self.pool_kernel)
        rows = (
            split_groups(
                to_rows(t), tuple(t.shape[2:]), groups=self.temporal_groups, attend=self.attend
            )
            for t in (queries, keys, values)
        )
        return next(rows), next(rows), next(rows)

    def _sum(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        fast = self.implementation == "fast" or (
            self.implementation == "auto"
            and fast_is_cheaper(
                positions=queries.shape[1],
                keys=keys.shape[1],
                channels=queries.shape[2],
            )
        )
        form = self.affinity.fast if fast else self.affinity.reference
        return form(queries, keys, values)

    def _check(self, x: Tensor) -> None:
        if x.dim() != self.dim + 2 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"NonLocalBlock(in_channels={self.in_channels}, dim={self.dim}) got an input of "
                f"shape {tuple(x.shape)}; expected (batch, {self.in_channels}, "
                f"{self.dim} spatial sizes)."
            )
        spatial = tuple(x.shape[2:])
        keys = pooled_shape(spatial, self.pool_kernel)
        if min(keys) < 1:
            raise ValueError(
                f"subsample pools by {self.pool_kernel}, but the input has only {spatial} "
                "positions; pass subsample=False for maps this small."
            )
        if spatial[0] % self.temporal_groups or keys[0] % self.temporal_groups:
            raise ValueError(
                f"temporal_groups={self.temporal_groups} does not divide the {spatial[0]} frames."
            )


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
