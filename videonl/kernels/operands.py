"""The input of a form: rows, and the linear maps around the sum, which it may reorder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Linear:
    """x Wᵀ + b of every row; the identity without W.

    Attributes:
        weight: (D, C) or None.
        bias: (D,) or None.
    """

    weight: Tensor | None = None
    bias: Tensor | None = None

    def __call__(self, rows: Tensor) -> Tensor:
        """(B, n, C) -> (B, n, D)."""
        return rows if self.weight is None else F.linear(rows, self.weight, self.bias)

    def project(self, rows: Tensor, direction: Tensor) -> Tensor:
        """(x Wᵀ + b) · direction -> (B, n): one map to a number instead of D.

        A row that is not finite gives NaN, as the sum over its D results would.
        """
        one = direction if self.weight is None else direction @ self.weight  # (C,)
        dots = rows @ one + 0 * rows.detach().sum(2)
        return dots if self.bias is None else dots + self.bias @ direction

    def part(self, rows: slice) -> Linear:
        """Some rows of W and b."""
        assert self.weight is not None
        return Linear(self.weight[rows], None if self.bias is None else self.bias[rows])

    def to(self, dtype: torch.dtype) -> Linear:
        """The same map in another type."""
        return Linear(*(None if t is None else t.to(dtype) for t in (self.weight, self.bias)))


@dataclass(frozen=True)
class Operands:
    """W_z y with y_i = 1/C(x) Σ_j f(θ x_i, φ x_j) g x_j: one non-local operation over rows.

    Attributes:
        kind: "softmax", "dot_product", "relu", or "own" for an f that nothing is known about.
        weights: f / C of all pairs: (B, N, C), (B, M, C) -> (B, N, M).
        queries: (B, N, ·) rows that θ acts on.
        keys: (B, M, ·) rows that φ acts on.
        values: (B, M, ·) rows that g acts on.
        width: C of the embedded queries and keys.
        depth: D of the embedded values.
        theta, phi, g, out: the maps; the identity where a row is embedded already.
        phi_and_g: both as one map, where they act on the same rows.
        scale: "softmax": the factor on the logits.
        direction: "relu": w_f (2C,).
        shift: "relu": a bias of w_f (1,), or None.
    """

    kind: str
    weights: Callable[[Tensor, Tensor], Tensor]
    queries: Tensor
    keys: Tensor
    values: Tensor
    width: int
    depth: int
    theta: Linear
    phi: Linear
    g: Linear
    out: Linear
    phi_and_g: Linear | None = None
    scale: float = 1.0
    direction: Tensor | None = None
    shift: Tensor | None = None

    @property
    def learns(self) -> bool:
        """Whether a gradient may be asked for."""
        if not torch.is_grad_enabled():
            return False
        for tensor in (self.queries, self.keys, self.values, self.g.weight, self.theta.weight):
            if tensor is not None and tensor.requires_grad:
                return True
        return False

    def keys_and_values(self) -> tuple[Tensor, Tensor]:
        """φ x (B, M, C) and g x (B, M, D), in one product where they can."""
        if self.phi_and_g is None:
            return self.phi(self.keys), self.g(self.values)
        keys, values = self.phi_and_g(self.keys).split((self.width, self.depth), dim=2)
        return keys, values

    def embedded(self) -> tuple[Tensor, Tensor, Tensor]:
        """θ x (B, N, C), φ x (B, M, C) and g x (B, M, D)."""
        return self.theta(self.queries), *self.keys_and_values()

    def to(self, dtype: torch.dtype) -> Operands:
        """Everything in another type."""
        changed: dict[str, Any] = {
            field.name: value.to(dtype)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), (Tensor, Linear))
        }
        return replace(self, **changed)


@dataclass(frozen=True)
class Form:
    """One exact way to compute :class:`Operands`.

    Attributes:
        name: for messages.
        holds_matrix: whether the whole N x M matrix is in memory.
        compute: the operands -> W_z y, (B, N, C_out).
        refuses: the reason why it cannot be used for these operands, or None; None if it always
            can.
    """

    name: str
    holds_matrix: bool
    compute: Callable[[Operands], Tensor]
    refuses: Callable[[Operands], str | None] | None = None
