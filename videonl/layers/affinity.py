"""The pairwise functions f(x_i, x_j) with their normalisations C(x): the paper, section 3.2."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Affinity(nn.Module):
    """f(x_i, x_j) / C(x) of all pairs; subclass it and define ``weights`` to add your own.

    Args:
        inner_channels: width C of the embedded queries and keys.
        use_scale: multiply the logits by 1/sqrt(C); used by the embedded Gaussian only.

    Attributes:
        embedded: whether f sees the learned embeddings θ(x) and φ(x), or (Gaussian) the features
            themselves.
        kind: what ``videonl.kernels`` knows the sum by; a subclass with ``weights`` of its own
            is "own".
        scale: the factor on the logits of a softmax.
    """

    embedded: ClassVar[bool] = True
    kind: ClassVar[str] = "own"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "weights" in vars(cls) and "kind" not in vars(cls):
            cls.kind = "own"

    def __init__(self, inner_channels: int, *, use_scale: bool = True) -> None:
        super().__init__()
        self.inner_channels = inner_channels
        self.use_scale = use_scale
        self.scale = 1.0

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """f(x_i, x_j) / C(x): (B, N, C), (B, M, C) -> (B, N, M).

        Raises:
            TypeError: the subclass does not define it.
        """
        raise TypeError(
            f"{type(self).__name__} must define weights(queries, keys); it got queries of shape "
            f"{tuple(queries.shape)} and keys of shape {tuple(keys.shape)}."
        )


class Gaussian(Affinity):
    """exp(x_iᵀ x_j), C(x) = Σ_j f (eq. 2): a softmax of the features themselves."""

    embedded = False
    kind = "softmax"

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Softmax over the keys of the inner products -> (B, N, M)."""
        return torch.softmax(queries @ keys.mT, dim=-1)


class EmbeddedGaussian(Gaussian):
    """exp(θ(x_i)ᵀ φ(x_j)), C(x) = Σ_j f (eq. 3); released code scales by 1/sqrt(C)."""

    embedded = True
    kind = "softmax"

    def __init__(self, inner_channels: int, *, use_scale: bool = True) -> None:
        super().__init__(inner_channels, use_scale=use_scale)
        self.scale = inner_channels**-0.5 if use_scale else 1.0

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """The same of the scaled queries -> (B, N, M)."""
        return super().weights(queries * self.scale, keys)


class DotProduct(Affinity):
    """θ(x_i)ᵀ φ(x_j), C(x) = M (eq. 4)."""

    kind = "dot_product"

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Inner products divided by the number of keys -> (B, N, M)."""
        return queries @ keys.mT / keys.shape[1]


class Concatenation(Affinity):
    """ReLU(w_fᵀ [θ(x_i), φ(x_j)]), C(x) = M (eq. 5).

    Attributes:
        weight: w_f (2C,); its first half multiplies θ.
        bias: of w_f, (1,), or None as in the paper; a published block may bring one.
    """

    kind = "relu"

    def __init__(self, inner_channels: int, *, use_scale: bool = True) -> None:
        super().__init__(inner_channels, use_scale=use_scale)
        self.weight = nn.Parameter(torch.empty(2 * inner_channels))
        self.bias: nn.Parameter | None
        self.register_parameter("bias", None)
        nn.init.normal_(self.weight, std=0.01)

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """ReLU(a_i + b_j) / M, where w_fᵀ[θ_i, φ_j] = a_i + b_j -> (B, N, M)."""
        first, second = self.weight.to(queries.dtype).split(self.inner_channels)
        # As matrices of one column: ONNX converters lose the layout of a product with a vector.
        a, b = queries @ first[:, None], keys @ second[:, None]  # (B, N, 1), (B, M, 1)
        if self.bias is not None:
            b = b + self.bias.to(b.dtype)
        return torch.relu(a + b.mT) / keys.shape[1]

    def add_bias(self) -> None:
        """Give w_f a bias, zero at first."""
        self.bias = nn.Parameter(self.weight.new_zeros(1))

    def _load_from_state_dict(self, state: Any, prefix: str, *args: Any) -> None:
        if f"{prefix}bias" in state and self.bias is None:
            self.add_bias()
        super()._load_from_state_dict(state, prefix, *args)


AFFINITIES: dict[str, type[Affinity]] = {
    "gaussian": Gaussian,
    "embedded_gaussian": EmbeddedGaussian,
    "dot_product": DotProduct,
    "concatenation": Concatenation,
}


def resolve_affinity(affinity: str | type[Affinity]) -> type[Affinity]:
    """The class behind a name of :data:`AFFINITIES`; a class passes through.

    Raises:
        ValueError: neither a known name nor a subclass of :class:`Affinity`.
    """
    if isinstance(affinity, str) and affinity in AFFINITIES:
        return AFFINITIES[affinity]
    if isinstance(affinity, type) and issubclass(affinity, Affinity):
        return affinity
    raise ValueError(
        f"affinity={affinity!r} is not known; use one of {', '.join(AFFINITIES)} "
        "or a subclass of videonl.layers.Affinity."
    )


def affinity_name(affinity: Affinity) -> str:
    """Its name in ``AFFINITIES``; that of its class where it has none."""
    kind = type(affinity)
    return next((name for name, known in AFFINITIES.items() if known is kind), kind.__name__)
