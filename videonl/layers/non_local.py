"""The non-local block: z_i = W_z y_i + x_i (eq. 6), y_i = 1/C(x) Σ_j f(x_i, x_j) g(x_j) (eq. 1)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from videonl.kernels import Linear, Operands, non_local_sum
from videonl.layers.affinity import Affinity, resolve_affinity
from videonl.layers.attention_row import attention_rows
from videonl.layers.channel_attention import ChannelAttention
from videonl.layers.positions import (
    ATTEND,
    BATCH_NORMS,
    CONVOLUTIONS,
    POOLS,
    join_groups,
    make_norm,
    pool_kernel,
    pool_rows,
    pooled_shape,
    split_groups,
    to_map,
    to_rows,
)

IMPLEMENTATIONS = ("auto", "fast", "reference")
_PLAIN_NORMS = (*BATCH_NORMS, nn.SyncBatchNorm)


# Where the paper and its released code differ. The paper: no factor on the logits (eq. 3), the pool
# after φ and g (section 3.3), weights as He et al. (section 4.1); the code: N(0, 0.01).
FORMS: dict[str, dict[str, Any]] = {
    "released": {"use_scale": True, "subsample_position": "before"},
    "paper": {"use_scale": False, "subsample_position": "after"},
}


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
        form: "released", as in the authors' code: the scale, the pool before φ and g, weights from
            N(0, 0.01); or "paper", as they write it: no scale, the pool after, He's
            initialisation. Each of the two options below wins over it.
        subsample_position: "before" φ and g or "after".
        use_scale: embedded Gaussian only: multiply the logits by 1/sqrt(inner_channels).
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
        form: str = "released",
        subsample_position: str | None = None,
        use_scale: bool | None = None,
        out_bias: bool = True,
        norm: str | nn.Module | Callable[[int], nn.Module | None] | None = "batch",
        zero_init: bool = True,
        temporal_groups: int = 1,
        attend: str = "spacetime",
        channel_attention: bool = False,
        implementation: str = "auto",
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form={form!r} must be one of {tuple(FORMS)}.")
        meant = FORMS[form]
        use_scale = meant["use_scale"] if use_scale is None else use_scale
        if subsample_position is None:
            subsample_position = str(meant["subsample_position"])
        for name, value, allowed in (
            ("dim", dim, (1, 2, 3)),
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
        self.form = form
        convolution = CONVOLUTIONS[dim - 1]
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
        """Weights as in the block's form and zero biases; then zero the last step."""
        for name in ("theta", "phi", "g", "out"):
            convolution = getattr(self, name, None)
            if convolution is not None:
                if self.form == "paper":
                    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                else:
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
        if self.implementation == "reference":
            return self._literal(x, self._matrix_sum)
        convolutions = self._convolutions()
        if not _are_plain(convolutions.values(), CONVOLUTIONS):
            return self._literal(x, self._chosen_sum)  # wrapped or hooked: their calls are seen
        return self._fused(x, convolutions)

    def _literal(self, x: Tensor, pair_sum: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Equations 1 and 6 as the paper writes them."""
        late = self.subsample_position == "after"
        source = x if late else self.pool(x)  # (B, C, *key positions)
        theta = self.theta(x) if self.affinity.embedded else x  # (B, C', *spatial)
        phi = self.phi(source) if self.affinity.embedded else source
        g = self.g(source)
        if late:
            phi, g = self.pool(phi), self.pool(g)
        y = pair_sum(self._rows(theta), self._rows(phi), self._rows(g))  # (B', N, C')
        y = join_groups(y, tuple(x.shape[2:]), batch=x.shape[0], attend=self.attend)
        z = self.out(to_map(y, tuple(x.shape[2:])))  # (B, C, *spatial)
        z = z if self.norm is None else self.norm(z)
        return x + z if self.channel is None else x + self.channel(x) + z

    def _matrix_sum(self, theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        """f(x_i, x_j)/C(x) times g: (B', N, M) @ (B', M, C')."""
        return self.affinity.weights(theta, phi) @ g

    def _chosen_sum(self, theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        """The same by the form that videonl.kernels chooses."""
        with torch.autocast(theta.device.type, enabled=False):
            maps = {name: Linear() for name in ("theta", "phi", "g", "out")}
            return non_local_sum(self._operands(theta, phi, g, **maps), self.implementation)

    def pool(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, C, *key positions)."""
        return x if self.pool_kernel is None else POOLS[self.dim - 1](x, self.pool_kernel)

    def _rows(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B', n, C): rows that may attend to each other."""
        return split_groups(to_rows(x), tuple(x.shape[2:]), self.temporal_groups, self.attend)

    def _fused(self, x: Tensor, convolutions: dict[str, Any]) -> Tensor:
        """Equations 1 and 6 over rows, in one type, W_z and θ wherever a form wants them."""
        device = x.device.type
        if device != "meta" and torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            with torch.autocast(device, enabled=False):
                z = self._transformed(x.to(dtype), convolutions)
        else:
            z = self._transformed(x, convolutions)
        if self.channel is not None:
            x = x + self.channel(x)
        # In place where autograd allows it and the layout stays: one map of memory less.
        own = type(self.norm) in _PLAIN_NORMS or not z.requires_grad
        alike = z.dtype == x.dtype and z.stride() == x.stride()
        return z.add_(x) if own and alike else x + z

    def _transformed(self, x: Tensor, convolutions: dict[str, Any]) -> Tensor:
        """W_z y and its norm: (B, C, *spatial) -> the same shape and layout."""
        spatial = tuple(x.shape[2:])
        op = self.operands(x, convolutions)
        y = non_local_sum(op, self.implementation)  # (B', n, C)
        y = join_groups(y, spatial, batch=x.shape[0], attend=self.attend)  # (B, N, C)
        last = x.stride(1) == 1
        if last and self.norm is not None and _are_plain((self.norm,), _PLAIN_NORMS):
            flat = y.reshape(-1, self.in_channels, *(1,) * self.dim)  # (B · N, C, 1, ..)
            return to_map(self.norm(flat).view(y.shape), spatial)
        # A batch norm whose gradient comes in another layout is slow.
        z = to_map(y, spatial) if last else to_map(y, spatial).contiguous()
        return z if self.norm is None else self.norm(z)

    def operands(self, x: Tensor, convolutions: dict[str, Any] | None = None) -> Operands:
        """What videonl.kernels gets for the features x (B, C, *spatial)."""
        spatial, groups, attend = tuple(x.shape[2:]), self.temporal_groups, self.attend
        keys = pooled_shape(spatial, self.pool_kernel)
        rows = to_rows(x).contiguous()  # (B, N, C): copied once where x is channels first
        maps = self._maps(convolutions or self._convolutions(), x.dtype)
        queries = split_groups(rows, spatial, groups, attend)  # (B', n, C)
        if self.subsample_position == "before":
            source = pool_rows(rows, spatial, self.pool_kernel)  # (B, M, C)
            source = split_groups(source, keys, groups, attend)
            return self._operands(queries, source, source, **maps)
        op = self._operands(rows, rows, rows, **maps)
        pooled = [pool_rows(t, spatial, self.pool_kernel) for t in op.keys_and_values()]
        phi, g = [split_groups(t, keys, groups, attend) for t in pooled]
        kept = {"theta": maps["theta"], "phi": Linear(), "g": Linear(), "out": maps["out"]}
        return self._operands(queries, phi, g, **kept)

    def _operands(self, queries: Tensor, keys: Tensor, values: Tensor, **maps: Linear) -> Operands:
        affinity: Any = self.affinity
        weight = bias = None
        if affinity.kind == "relu":
            weight, bias = affinity.weight.to(values.dtype), affinity.bias
        return Operands(
            affinity.kind,
            affinity.weights,
            queries,
            keys,
            values,
            width=self.inner_channels if affinity.embedded else self.in_channels,
            depth=self.inner_channels,
            scale=affinity.scale,
            direction=weight,
            shift=None if bias is None else bias.to(values.dtype),
            **maps,
        )

    def _convolutions(self) -> dict[str, Any]:
        embeddings = {"theta": self.theta, "phi": self.phi} if self.affinity.embedded else {}
        return {**embeddings, "g": self.g, "out": self.out}

    def _maps(self, modules: dict[str, Any], dtype: torch.dtype) -> dict[str, Linear]:
        """θ, φ, g and W_z as linear maps of rows, all cast at once where they must be."""
        if self.g.weight.dtype == dtype:
            maps = {"theta": Linear(), "phi": Linear()}
            for name, module in modules.items():
                maps[name] = Linear(module.weight.flatten(1), module.bias)
            return maps
        names = (("theta",), ("phi", "g"), ("out",)) if "phi" in modules else (("g",), ("out",))
        groups = [[modules[name] for name in group] for group in names]
        weights = [[m.weight for m in group] for group in groups]
        biases = [[m.bias for m in group if m.bias is not None] for group in groups]
        tensors = weights + biases
        flat = torch.cat([t.flatten() for some in tensors for t in some]).to(dtype)
        parts = flat.split([sum(t.numel() for t in some) for some in tensors])
        *embeddings, last, out = [
            Linear(weight.view(-1, group[0].in_channels), bias if bias.numel() else None)
            for group, weight, bias in zip(groups, parts, parts[len(groups) :], strict=False)
        ]
        if not embeddings:
            return {"theta": Linear(), "phi": Linear(), "g": last, "out": out}
        inner = self.inner_channels
        phi, g = last.part(slice(0, inner)), last.part(slice(inner, None))
        return {"theta": embeddings[0], "phi": phi, "g": g, "phi_and_g": last, "out": out}

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
        return next(attention_rows(self, x, [position]))

    def extra_repr(self) -> str:
        """The options that the child modules do not show."""
        return (
            f"{self.in_channels}, inner={self.inner_channels}, pool={self.pool_kernel} "
            f"{self.subsample_position}, groups={self.temporal_groups}, attend={self.attend}, "
            f"implementation={self.implementation}"
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


def _are_plain(modules: Iterable[Any], kinds: Collection[type]) -> bool:
    """Whether all are of these very classes, and nobody hooked on them."""
    for module in modules:
        if type(module) not in kinds:
            return False
        if module._forward_hooks or module._forward_pre_hooks:
            return False
        if module._backward_hooks or module._backward_pre_hooks:
            return False
    return True
