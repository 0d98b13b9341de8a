"""The pairwise functions f(x_i, x_j) of the non-local operation (PAPER section 3.2).

Each affinity is a class with two forms of the same sum over the keys,

    y_i = 1/C(x) · Σ_j f(x_i, x_j) g_j,

``reference`` builds the N x M matrix as the paper writes it; ``fast`` is exact as well and never
holds that matrix. A new affinity needs ``weights`` only: it then gets a ``fast`` form that works
through the queries in blocks. Shapes: queries (B, N, C), keys (B, M, C), values g (B, M, D).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from videonl.layers.blockwise import blockwise_sum
from videonl.layers.pair_sum import pair_relu_sum
from videonl.layers.rows import is_channels_first, linear_rows
from videonl.layers.softmax_sum import softmax_sum


@dataclass(frozen=True)
class Projection:
    """Rows that a linear map may still have to act on: x Wᵀ + b, or x itself without W.

    Attributes:
        rows: (B, N, C_in).
        weight: (C, C_in), (B, C, C_in) for one map per sample, or None.
        bias: (C,), (B, C) with one map per sample, or None.
    """

    rows: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None

    def compute(self, *, channels_first: bool = False) -> Tensor:
        """The embedded rows (B, N, C), in the layout that is asked for where that is free."""
        if self.weight is None:
            return self.rows if self.bias is None else self.rows + self.bias
        return linear_rows(self.rows, self.weight, self.bias, channels_first=channels_first)

    def dot(self, vector: Tensor) -> Tensor:
        """(x_i Wᵀ + b) · vector for every row -> (B, N): one scalar map instead of C."""
        if self.weight is None:
            return self.rows @ vector
        shift = None if self.bias is None else (self.bias @ vector)[None]
        return linear_rows(self.rows, (vector @ self.weight)[None], shift).squeeze(2)


class Affinity(nn.Module):
    """One pairwise function f with its normalisation C(x); subclass it to add your own.

    Args:
        inner_channels: width C of the embedded queries and keys.
        use_scale: multiply the logits by 1/sqrt(C); only the embedded Gaussian listens.

    Attributes:
        embedded: whether queries and keys are the learned embeddings θ(x), φ(x); if False they
            are the features themselves (Gaussian).
        name: what the rule of "auto" (videonl/layers/choice.py) knows it by.
    """

    embedded: ClassVar[bool] = True
    name: ClassVar[str] = "own"

    def __init__(self, inner_channels: int, *, use_scale: bool = True) -> None:
        super().__init__()
        self.inner_channels = inner_channels
        self.use_scale = use_scale

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """f(x_i, x_j) / C(x) for all pairs: (B, N, C), (B, M, C) -> (B, N, M).

        Raises:
            TypeError: the subclass does not define it.
        """
        raise TypeError(
            f"{type(self).__name__} must define weights(queries, keys); it got queries of shape "
            f"{tuple(queries.shape)} and keys of shape {tuple(keys.shape)}."
        )

    def reference(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The sum as the paper writes it, through the N x M matrix -> (B, N, D)."""
        return self.weights(queries, keys) @ values

    def fast(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The same sum without the N x M matrix -> (B, N, D)."""
        return blockwise_sum(self.weights, queries, keys, values)

    def fast_block(
        self, queries: Projection, keys: Projection, values: Tensor, out: Projection
    ) -> Projection:
        """W_z on the sum, free to reorder the linear maps around it -> (B, N, C_out).

        Args:
            queries: the rows x and θ.
            keys: the (pooled) rows and φ.
            values: g (B, M, D).
            out: weight and bias of W_z; its ``rows`` are the rows x, whose layout is kept.

        Returns:
            The rows with the linear map that is still to act on them.
        """
        y = self.fast(queries.compute(), keys.compute(), values)
        return Projection(y, out.weight, out.bias)


class Gaussian(Affinity):
    """exp(x_iᵀ x_j), normalised over the keys: a softmax of the features themselves (eq. 2)."""

    embedded = False
    name = "gaussian"

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
    name = "embedded_gaussian"

    def scale(self) -> float:
        """1/sqrt(C) as in the authors' released code, or 1 as in the paper."""
        return self.inner_channels**-0.5 if self.use_scale else 1.0


class DotProduct(Affinity):
    """θ(x_i)ᵀ φ(x_j) / M (eq. 4)."""

    name = "dot_product"

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Inner products divided by the number of keys -> (B, N, M)."""
        return queries @ keys.transpose(1, 2) / keys.shape[1]

    def fast(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """θ (φᵀ g / M): matrix products associate, O((N + M) C D)."""
        return queries @ (keys.transpose(1, 2) @ (values / keys.shape[1]))

    def fast_block(
        self, queries: Projection, keys: Projection, values: Tensor, out: Projection
    ) -> Projection:
        """W_z folded into φᵀ g, or θ too: x (W_θᵀ (φᵀ g / M) W_zᵀ) is one linear layer per sample.

        Exact as well; it takes whichever order has the fewest multiplications.
        """
        assert out.weight is not None
        if queries.weight is None:
            return super().fast_block(queries, keys, values, out)
        inner, inputs = queries.weight.shape
        outputs, count = len(out.weight), queries.rows.shape[1]
        fold_out = outputs * inner * inner
        costs = {
            "none": count * inner * (inputs + inner + outputs),
            "out": count * inner * (inputs + outputs) + fold_out,
            "all": count * inputs * outputs + fold_out + outputs * inner * inputs,
        }
        cheapest = min(costs, key=lambda order: costs[order])
        if cheapest == "none":
            return super().fast_block(queries, keys, values, out)
        mixed = keys.compute().transpose(1, 2) @ (values / values.shape[1])  # (B, C, D)
        mixed = out.weight @ mixed.transpose(1, 2)  # (B, C_out, C)
        shift = out.bias
        if queries.bias is not None:
            moved = mixed @ queries.bias
            shift = moved if shift is None else moved + shift
        if shift is not None and shift.dim() == 1:
            shift = shift.expand(len(mixed), -1)
        if cheapest == "all":
            return Projection(queries.rows, mixed @ queries.weight, shift)
        return Projection(
            linear_rows(queries.rows, queries.weight, channels_first=False), mixed, shift
        )


class Concatenation(Affinity):
    """ReLU(w_fᵀ [θ(x_i), φ(x_j)]) / M (eq. 5); ``weight`` is w_f, its first half multiplies θ."""

    name = "concatenation"

    def __init__(self, inner_channels: int, *, use_scale: bool = True) -> None:
        super().__init__(inner_channels, use_scale=use_scale)
        self.weight = nn.Parameter(torch.empty(2 * inner_channels))
        nn.init.normal_(self.weight, std=0.01)

    def _halves(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The parts of w_f that multiply θ and φ, each (C,)."""
        first, second = self.weight.to(dtype).split(self.inner_channels)
        return first, second

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """ReLU(a_i + b_j) / M, where w_fᵀ[θ_i, φ_j] = a_i + b_j -> (B, N, M)."""
        query_weight, key_weight = self._halves(queries.dtype)
        a, b = queries @ query_weight, keys @ key_weight
        return torch.relu(a[:, :, None] + b[:, None, :]) / keys.shape[1]

    def fast(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Sort the keys once, take prefix sums, look each query up."""
        query_weight, key_weight = self._halves(values.dtype)
        return pair_relu_sum(queries @ query_weight, keys @ key_weight, values / keys.shape[1])

    def fast_block(
        self, queries: Projection, keys: Projection, values: Tensor, out: Projection
    ) -> Projection:
        """θ and φ act through one scalar per position; W_z acts on the M values, not the N sums."""
        assert out.weight is not None
        query_weight, key_weight = self._halves(values.dtype)
        values = linear_rows(values / values.shape[1], out.weight, channels_first=False)
        y = pair_relu_sum(
            queries.dot(query_weight),
            keys.dot(key_weight),
            values,
            channels_first=is_channels_first(out.rows),
        )
        return Projection(y, None, out.bias)


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
