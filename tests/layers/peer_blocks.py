"""The published non-local blocks, written down operation by operation in plain torch.

A case is a peer's settings, a state dict in the peer's own keys with seeded random weights, an
input and the output that the peer's code gives for them: computed here in float64 with nothing of
videonl. What differs between the peers:

| peer | projections | keys are pooled | scale | output projection |
|---|---|---|---|---|
| AlexHex7 (ec15789) | theta, phi(.0), g(.0), W or W.0 + W.1 | after phi, g | none | bias |
| mmcv (2.1.0) | the same, .conv; conv_out.conv, .bn | after phi, g | option | bias without norm |
| PySlowFast (287ec00) | conv_theta, _phi, _g, _out; bn | before phi, g | d^-1/2 | bias |
| GluonCV (5677756) | theta, phi, g, W, bn; W_bn.0, .1 | never | d^-1/2 | bias |
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
SHAPES = {1: (11,), 2: (7, 6), 3: (3, 7, 6)}  # odd: pooling drops what does not fit
FORMS = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")
CHANNELS = 12


@dataclass(frozen=True)
class Case:
    """One block of a peer: ``settings`` in our words, and what its code computes."""

    peer: str
    settings: Mapping[str, Any]
    state: dict[str, Tensor]
    input: Tensor
    output: Tensor

    def __str__(self) -> str:
        return f"{self.peer}: {self.settings}"


def spatial_pool(dim: int) -> tuple[int, ...]:
    """AlexHex7 and mmcv: 2 along height and width, and along the only axis of a sequence."""
    return {1: (2,), 2: (2, 2), 3: (1, 2, 2)}[dim]


class Weights:
    """Makes a state dict, tensor by tensor; scales and statistics are far from 1 and 0."""

    def __init__(self, dim: int, seed: int) -> None:
        self.state: dict[str, Tensor] = {}
        self._dim = dim
        self._random = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._random)

    def conv(self, name: str, out: int, inside: int, *, bias: bool = True) -> None:
        self.state[f"{name}.weight"] = self.normal(out, inside, *[1] * self._dim) / inside**0.5
        if bias:
            self.state[f"{name}.bias"] = 0.3 * self.normal(out)

    def norm(self, name: str, size: int) -> None:
        self.state[f"{name}.weight"] = 0.5 + self.normal(size).abs()
        self.state[f"{name}.bias"] = 0.3 * self.normal(size)
        self.state[f"{name}.running_mean"] = 0.3 * self.normal(size)
        self.state[f"{name}.running_var"] = 0.5 + self.normal(size).abs()
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def input(self, channels: int) -> Tensor:
        return self.normal(2, channels, *SHAPES[self._dim]).double()

    def doubled(self) -> dict[str, Tensor]:
        """The float32 weights, to be computed with in float64."""
        return {k: v.double() if v.is_floating_point() else v for k, v in self.state.items()}


def pairs(form: str, theta: Tensor, phi: Tensor, scale: float, vector: Tensor | None) -> Tensor:
    """f(x_i, x_j) / C(x) of all pairs (B, N, M), from θ (B, C', N) and φ (B, C', M)."""
    if form == "concatenation":
        assert vector is not None
        rows, columns = theta.shape[2], phi.shape[2]
        left = theta[:, :, :, None].expand(-1, -1, -1, columns)
        right = phi[:, :, None, :].expand(-1, -1, rows, -1)
        joined = F.conv2d(torch.cat([left, right], 1), vector)[:, 0]
        return joined.relu() / columns
    products = theta.transpose(1, 2) @ phi
    if form == "dot_product":
        return products / phi.shape[2]
    return (products * scale).softmax(-1)


def attend(x: Tensor, weights: Tensor, g: Tensor) -> Tensor:
    """The weighted sums of g, in the shape of the input."""
    return (g @ weights.transpose(1, 2)).reshape(len(x), g.shape[1], *x.shape[2:])


def batch_norm(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    parts = (state[f"{name}.{end}"] for end in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *parts, eps=1e-5)


def pooled_after(
    state: Mapping[str, Tensor],
    x: Tensor,
    *,
    form: str,
    pool: bool,
    scale: float,
    names: Mapping[str, str],
) -> Tensor:
    """AlexHex7's and mmcv's order: convolve, then pool. The Gaussian takes x for θ and φ."""
    dim = x.dim() - 2
    vector = state.get(f"{names['concat']}.weight")

    def project(part: str) -> Tensor:
        name = names[part]
        y = CONV[dim](x, state[f"{name}.weight"], state[f"{name}.bias"])
        return POOL[dim](y, spatial_pool(dim)) if pool and part != "theta" else y

    g = project("g").flatten(2)
    if form == "gaussian":
        theta = x.flatten(2)
        phi = (POOL[dim](x, spatial_pool(dim)) if pool else x).flatten(2)
    else:
        theta, phi = project("theta").flatten(2), project("phi").flatten(2)
    y = attend(x, pairs(form, theta, phi, scale, vector), g)
    y = CONV[dim](y, state[f"{names['out']}.weight"], state.get(f"{names['out']}.bias"))
    if f"{names['norm']}.weight" in state:
        y = batch_norm(y, state, names["norm"])
    return x + y


def alexhex7(
    form: str, dim: int, pool: bool, norm: bool, *, channels: int = CHANNELS, inner: int = 6
) -> Case:
    end = ".0" if pool else ""
    names = {"theta": "theta", "phi": f"phi{end}", "g": f"g{end}", "norm": "W.1"}
    names |= {"out": "W.0" if norm else "W", "concat": "concat_project.0"}
    make = Weights(dim, seed=1)
    make.conv(names["g"], inner, channels)
    if form != "gaussian":
        make.conv(names["theta"], inner, channels)
        make.conv(names["phi"], inner, channels)
    make.conv(names["out"], channels, inner)
    if norm:
        make.norm("W.1", channels)
    if form == "concatenation":
        make.state["concat_project.0.weight"] = make.normal(1, 2 * inner, 1, 1) / inner**0.5
    x = make.input(channels)
    y = pooled_after(make.doubled(), x, form=form, pool=pool, scale=1.0, names=names)
    told = {"affinity": form, "dim": dim, "subsample": pool, "inner_channels": inner}
    return Case("alexhex7", {**told, "norm": "batch" if norm else None}, make.state, x, y)


def mmcv(form: str, dim: int, pool: bool, norm: bool, *, use_scale: bool = True) -> Case:
    inner, end = CHANNELS // 2, ".0.conv" if pool else ".conv"
    names = {"theta": "theta.conv", "phi": f"phi{end}", "g": f"g{end}", "norm": "conv_out.bn"}
    names |= {"out": "conv_out.conv", "concat": "concat_project.conv"}
    make = Weights(dim, seed=2)
    make.conv(names["g"], inner, CHANNELS)
    if form != "gaussian":
        make.conv(names["theta"], inner, CHANNELS)
        make.conv(names["phi"], inner, CHANNELS)
    make.conv("conv_out.conv", CHANNELS, inner, bias=not norm)
    if norm:
        make.norm("conv_out.bn", CHANNELS)
    if form == "concatenation":
        make.state["concat_project.conv.weight"] = make.normal(1, 2 * inner, 1, 1) / inner**0.5
    x = make.input(CHANNELS)
    scale = inner**-0.5 if form == "embedded_gaussian" and use_scale else 1.0
    y = pooled_after(make.doubled(), x, form=form, pool=pool, scale=scale, names=names)
    told = {"affinity": form, "dim": dim, "subsample": pool, "use_scale": use_scale}
    told |= {"norm": "batch" if norm else None, "out_bias": not norm}
    return Case("mmcv", told, make.state, x, y)


def pooled_before(
    state: Mapping[str, Tensor], x: Tensor, *, form: str, pool: tuple[int, int, int] | None
) -> Tensor:
    """PySlowFast's order: θ of x; φ and g of the pooled x."""
    keys = F.max_pool3d(x, pool) if pool else x
    theta, phi, g = (
        F.conv3d(source, state[f"conv_{part}.weight"], state[f"conv_{part}.bias"]).flatten(2)
        for part, source in (("theta", x), ("phi", keys), ("g", keys))
    )
    y = attend(x, pairs(form, theta, phi, theta.shape[1] ** -0.5, None), g)
    y = F.conv3d(y, state["conv_out.weight"], state["conv_out.bias"])
    return x + batch_norm(y, state, "bn")


def pyslowfast(form: str, pool: tuple[int, int, int] | None, inner: int) -> Case:
    make = Weights(3, seed=3)
    for part in ("theta", "phi", "g"):
        make.conv(f"conv_{part}", inner, CHANNELS)
    make.conv("conv_out", CHANNELS, inner)
    make.norm("bn", CHANNELS)
    x = make.input(CHANNELS)
    told = {"affinity": form, "inner_channels": inner, "dim": 3, "norm": "batch"}
    told["subsample"] = pool if pool and max(pool) > 1 else False
    y = pooled_before(make.doubled(), x, form=form, pool=pool)
    return Case("pyslowfast", told, make.state, x, y)


def gluoncv(inner: int) -> Case:
    """No pooling; W and bn lie in a container, too, so their tensors are saved twice."""
    other = pyslowfast("embedded_gaussian", None, inner)
    state = {}
    for key, value in other.state.items():
        name = key.removeprefix("conv_").replace("out.", "W.")
        state[name] = value
        for original, copy in (("W.", "W_bn.0."), ("bn.", "W_bn.1.")):
            if name.startswith(original):
                state[copy + name.removeprefix(original)] = value
    return Case("gluoncv", other.settings, state, other.input, other.output)


def cases(peer: str) -> Iterator[Case]:
    """Every combination of a peer's options."""
    if peer in ("alexhex7", "mmcv"):
        block = alexhex7 if peer == "alexhex7" else mmcv
        for form in FORMS:
            for dim in (1, 2, 3):
                for pool in (False, True):
                    for norm in (False, True):
                        yield block(form, dim, pool, norm)
                        if peer == "mmcv" and form == "embedded_gaussian":
                            yield mmcv(form, dim, pool, norm, use_scale=False)
    if peer == "alexhex7":
        yield alexhex7("embedded_gaussian", 3, True, True, inner=5)
        yield alexhex7("embedded_gaussian", 3, True, True, channels=1, inner=1)
    if peer == "pyslowfast":
        for form in ("embedded_gaussian", "dot_product"):
            for pool in (None, (1, 1, 1), (1, 2, 2), (2, 2, 2)):
                for inner in (6, 5):
                    yield pyslowfast(form, pool, inner)
    if peer == "gluoncv":
        yield from (gluoncv(inner) for inner in (6, 5))
