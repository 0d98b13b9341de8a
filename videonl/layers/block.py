"""The non-local block: z_i = W_z y_i + x_i (PAPER section 3.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from videonl.layers.affinity import Affinity, Projection, resolve_affinity
from videonl.layers.attention_row import attention_row
from videonl.layers.blockwise import blockwise_sum
from videonl.layers.channel_attention import ChannelAttention
from videonl.layers.choice import fast_is_cheaper
from videonl.layers.fan_out import fan_out
from videonl.layers.pooling import pool
from videonl.layers.positions import (
    ATTEND,
    join_groups,
    make_norm,
    pool_kernel,
    pooled_shape,
    split_groups,
    to_map,
    to_rows,
)
from videonl.layers.project_norm_add import can_join, project_norm_add
from videonl.layers.rows import has_only_finite, in_eager_cpu, is_channels_first

IMPLEMENTATIONS = ("auto", "fast", "reference")
_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


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
        channel_attention: add DANet's channel attention, zero-initialised
            (:class:`~videonl.layers.channel_attention.ChannelAttention`).
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
        channel_attention: bool = False,
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
        if min(in_channels, inner, temporal_groups) < 1:
            raise ValueError(
                f"in_channels={in_channels}, inner_channels={inner} and "
                f"temporal_groups={temporal_groups} must be at least 1."
            )
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
        self.channel = ChannelAttention() if channel_attention else None
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
        scaled = isinstance(getattr(self.norm, "weight", None), Tensor)
        last: nn.Module = self.norm if self.norm is not None and scaled else self.out
        for name in ("weight", "bias"):
            parameter = getattr(last, name, None)
            if isinstance(parameter, Tensor):
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) -> the same shape."""
        self._check(x)
        device = x.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            # One dtype throughout: the hand-written backward passes do not cast.
            with torch.autocast(device, enabled=False):
                rows, _ = self._transform(x.to(torch.get_autocast_dtype(device)))
                z = self._as_map(rows, x)
        else:
            rows, x = self._transform(x)
            if self.channel is None and can_join(self.norm, rows.rows, x):
                assert self.norm is not None
                return project_norm_add(rows.rows, rows.weight, rows.bias, self.norm, x)
            z = self._as_map(rows, x)
        if self.channel is not None:
            x = x + self.channel(x)
        if self.norm is not None:
            z = self.norm(z)
        # In place where autograd allows it: one map of memory less.
        own = type(self.norm) in _BATCH_NORMS or not z.requires_grad
        return z.add_(x) if own and z.dtype == x.dtype else x + z

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
        return attention_row(self, x, position)

    def extra_repr(self) -> str:
        """The options that the child modules do not show."""
        return (
            f"{self.in_channels}, inner={self.inner_channels}, pool={self.pool_kernel} "
            f"{self.subsample_position}, groups={self.temporal_groups}, attend={self.attend}, "
            f"implementation={self.implementation}"
        )

    def _transform(self, x: Tensor) -> tuple[Projection, Tensor]:
        """W_z y as rows (B, N, C), before the norm and the residual, and the x to add."""
        kernel = self.pool_kernel
        early = self.subsample_position == "before"
        x, residual, source = fan_out(x, kernel if early else None)
        late = None if early else kernel
        queries = self._embed("theta", x)
        keys = self._embed("phi", source, late)
        values = self._embed("g", source, late).compute()
        rows = self._grouped(x)
        fast = self._takes_fast(rows.shape[1], values.shape[1])
        out = self._linear("out", x)
        linear = (None, None) if out is None else out
        if fast and in_eager_cpu(x) and not has_only_finite(x):
            # Another order of the sums makes an inf where the paper's order makes a NaN.
            weights = self.affinity.weights
            y = blockwise_sum(weights, queries.compute(), keys.compute(), values)
            z = Projection(y, *linear)
        elif fast and in_eager_cpu(x) and values.dtype in (torch.bfloat16, torch.float16):
            y = self._float32_sum(queries.compute(), keys.compute(), values)
            z = Projection(y, *linear)
        elif fast and out is not None:
            z = self.affinity.fast_block(queries, keys, values, Projection(rows, *out))
        else:
            form = self.affinity.fast if fast else self.affinity.reference
            z = Projection(form(queries.compute(), keys.compute(), values), *linear)
        z = self._joined(z, x)
        return (
            z if out is not None else Projection(to_rows(self.out(self._as_map(z, x))))
        ), residual

    def _float32_sum(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The fast form in float32: half sums in another order round up to 6 times as much."""
        with torch.autocast(values.device.type, enabled=False):
            return self.affinity.fast(queries.float(), keys.float(), values.float()).to(values)

    def _joined(self, z: Projection, x: Tensor) -> Projection:
        """Groups of rows as one row per position of x again."""
        if self.attend != "time" and z.rows.shape[0] == x.shape[0]:
            return z
        if any(t is not None and t.dim() > d for t, d in ((z.weight, 2), (z.bias, 1))):
            z = Projection(z.compute())  # one map per group
        spatial = tuple(x.shape[2:])
        rows = join_groups(z.rows, spatial, batch=x.shape[0], attend=self.attend)
        return Projection(rows, z.weight, z.bias)

    def _as_map(self, z: Projection, x: Tensor) -> Tensor:
        """Rows (B, N, C) as a map (B, C, *spatial) in the memory layout of x."""
        rows = z.compute(channels_first=is_channels_first(to_rows(x)))
        return to_map(rows, tuple(x.shape[2:]))

    def _embed(self, name: str, x: Tensor, kernel: tuple[int, ...] | None = None) -> Projection:
        """θ, φ or g of x, pooled by ``kernel``, as grouped rows; not computed yet where it can."""
        if name != "g" and not self.affinity.embedded:
            return Projection(self._grouped(x if kernel is None else pool(x, kernel)))
        linear = self._linear(name, x)
        if linear is not None and kernel is None:
            return Projection(self._grouped(x), *linear)
        if linear is None:
            embedded = getattr(self, name)(x)
        else:
            embedded = self._as_map(Projection(to_rows(x), *linear), x)
        return Projection(self._grouped(embedded if kernel is None else pool(embedded, kernel)))

    def _grouped(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B', n, C): rows that may attend to each other."""
        return split_groups(
            to_rows(x), tuple(x.shape[2:]), groups=self.temporal_groups, attend=self.attend
        )

    def _linear(self, name: str, x: Tensor) -> tuple[Tensor, Tensor | None] | None:
        """Weight and bias of a 1x1x1 convolution, or None if its call must be seen.

        That is so if it was wrapped or replaced, or carries hooks.
        """
        module = getattr(self, name)
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        if type(module) not in _CONVOLUTIONS.values() or any(getattr(module, h) for h in hooks):
            return None
        bias = None if module.bias is None else module.bias.to(x.dtype)
        return module.weight.flatten(1).to(x.dtype), bias

    def _takes_fast(self, positions: int, keys: int) -> bool:
        if self.implementation != "auto":
            return self.implementation == "fast"
        return fast_is_cheaper(
            positions=positions,
            keys=keys,
            channels=self.inner_channels,
            affinity=self.affinity.name,
            device=self.g.weight.device.type,
        )

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
