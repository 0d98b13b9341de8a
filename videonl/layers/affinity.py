"""The pairwise functions f(x_i, x_j) of the non-local operation (PAPER section 3.2).

Each affinity is a class with two forms of the same sum over the keys,

    y_i = 1/C(x) · Σ_j f(x_i, x_j) g_j,

``reference`` builds the N x M matrix as the paper writes it; ``fast`` is exact as well and never
holds that matrix. A new affinity needs ``weights`` only: it then gets a ``fast`` form that works
through the queries in blocks. Shapes: queries (B, N, C), keys (B, M, C), values g (B, M, D).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from videonl.layers.blockwise import blockwise_sum
from videonl.layers.pair_sum import pair_relu_sum
from videonl.layers.softmax_sum import softmax_sum


class Affinity(nn.Module):
    """One pairwise function f with its normalisation C(x); subclass it to add your own.

    Args:
        inner_channels: width C of the embedded queries and keys.
        use_scale: multiply the logits by 1/sqrt(C); only the embedded Gaussian listens.

    Attributes:
        embedded: whether queries and keys are the learned embeddings θ(x), φ(x); if False they
            are the features themselves (Gaussian).
    """

    embedded: ClassVar[bool] = True

    def __init__(self, inner_channels: int, *, use_scale: bool = True) -> None:
        super().__init__()
        self.inner_channels = inner_channels
        self.use_scale = use_scale

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """f(x_i, x_j) / C(x) for all pairs: (B, N, C), (B, M, C) -> (B, N, M)."""
        raise NotImplementedError(f"{type(self).__name__} must define weights(queries, keys).")

    def reference(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The sum as the paper writes it, through the N x M matrix -> (B, N, D)."""
        return self.weights(queries, keys) @ values

    def fast(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The same sum without the N x M matrix -> (B, N, D)."""
        return blockwise_sum(self.weights, queries, keys, values)


class Gaussian(Affinity):
    """exp(x_iᵀ x_j), normalised over the keys: a softmax of the features themselves (eq. 2)."""

    embedded = False

    def scale(self) -> float:
        """The factor on the logits: the paper's Gaussian has none."""
        return 1.0

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Softmax over the keys of the scaled inner products -> (B, N, M)."""
        return torch.softmax(queries @ keys.transpose(1, 2) * self.scale(), dim=-1)

    def fast(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Fused attention: memory linear in N + M."""
        return softmax_sum(queries, keys, values, scale=self.scale())


class EmbeddedGaussian(Gaussian):
    """exp(θ(x_i)ᵀ φ(x_j)), normalised over the keys (eq. 3); released code scales by 1/sqrt(C)."""

    embedded = True

    def scale(self) -> float:
        """1/sqrt(C) as in the authors' released code, or 1 as in the paper."""
        return self.inner_channels**-0.5 if self.use_scale else 1.0


class DotProduct(Affinity):
    """θ(x_i)ᵀ φ(x_j) / M (eq. 4)."""

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Inner products divided by the number of keys -> (B, N, M)."""
        return queries @ keys.transpose(1, 2) / keys.shape[1]

    def fast(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """θ (φᵀ g / M): matrix products associate, O((N + M) C D)."""
        return queries @ (keys.transpose(1, 2) @ (values / keys.shape[1]))


class Concatenation(Affinity):
    """ReLU(w_fᵀ [θ(x_i), φ(x_j)]) / M (eq. 5); ``weight`` is w_f, its first half multiplies θ."""

    def __init__(self, inner_channels: int, *, use_scale: bool = True) -> None:
        super().__init__(inner_channels, use_scale=use_scale)
        self.weight = nn.Parameter(torch.empty(2 * inner_channels))
        nn.init.normal_(self.weight, std=0.01)

    def scores(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """w_fᵀ[θ_i, φ_j] = a_i + b_j: the two scalars per position, (B, N) and (B, M)."""
        query_weight, key_weight = self.weight.split(self.inner_channels)
        return queries @ query_weight, keys @ key_weight

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """ReLU(a_i + b_j) / M -> (B, N, M)."""
        a, b = self.scores(queries, keys)
        return torch.relu(a[:, :, None] + b[:, None, :]) / keys.shape[1]

    def fast(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Sort the keys once, take prefix sums, look each query up."""
        a, b = self.scores(queries, keys)
        return pair_relu_sum(a, b, values) / keys.shape[1]


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
