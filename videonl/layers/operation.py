"""The general operation y_i = 1/C(x) · Σ_j f(x_i, x_j) g(x_j) (PAPER section 3.1, eq. 1).

:class:`~videonl.layers.NonLocalBlock` is the efficient member of this family; this form is the
definition itself, for new ideas and to show what else belongs to it: self-attention, a fully
connected layer, a convolution, a graph convolution (docs/non_local.md).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

NORMALISATIONS = ("sum", "count", "none")


class NonLocalOperation(nn.Module):
    """y_i = 1/C(x) · Σ_j f(x_i, x_j) g(x_j), with any f, g and C.

    Args:
        f: the pairwise function of the rows (B, N, C) -> (B, N, M), or (N, M) if it depends on the
            positions only, or (B or 1, H, N, M) for H of them, whose results are added.
        g: the values of the rows (B, N, C) -> (B, M, D), or (B, H, M, D); the rows themselves by
            default.
        normalise: C(x): "sum" (Σ_j f), "count" (the number of keys), "none" (1), or a function of
            f's result that broadcasts with (..., N, 1).

    Shape:
        (B, N, C) -> (B, N, D).

    Raises:
        ValueError: an unknown ``normalise``.

    Example:
        >>> import torch
        >>> mean = NonLocalOperation(lambda x: torch.ones(x.shape[1], x.shape[1]))
        >>> mean(torch.tensor([[[1.0], [3.0]]])).flatten().tolist()
        [2.0, 2.0]
    """

    def __init__(
        self,
        f: Callable[[Tensor], Tensor],
        g: Callable[[Tensor], Tensor] | None = None,
        *,
        normalise: str | Callable[[Tensor], Tensor] = "sum",
    ) -> None:
        super().__init__()
        if not callable(normalise) and normalise not in NORMALISATIONS:
            raise ValueError(f"normalise={normalise!r} must be one of {NORMALISATIONS}.")
        self.f = f
        self.g = g
        self.normalise = normalise

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, D)."""
        pairs = self.f(x)
        y = self._normalised(pairs) @ (x if self.g is None else self.g(x))
        return y.sum(1) if pairs.dim() == 4 else y

    def _normalised(self, pairs: Tensor) -> Tensor:
        if callable(self.normalise):
            return pairs / self.normalise(pairs)
        if self.normalise == "sum":
            return pairs / pairs.sum(-1, keepdim=True)
        return pairs / pairs.shape[-1] if self.normalise == "count" else pairs
