"""Concatenation, Σ_j ReLU(a_i + b_j) g_j in O((N + M)(log M + D)): sort, prefix sums, search.

Sort the keys by b, largest first. Query i takes the first k of them, those with b > -a_i, so with
the prefix sums S_k = Σ_{j<k} g_j and R_k = Σ_{j<k} (b_j - b_{k-1}) g_j its sum is

    Σ_j ReLU(a_i + b_j) g_j = (a_i + b_{k-1}) S_k + R_k.

Both factors of every term are non-negative, so nothing large cancels, as it would between a_i S_k
and Σ b_j g_j. Sums run in float32 (float64 for float64), block by block. The sum is symmetric in
queries and keys: the backward pass is the same function with the roles swapped. Where
a_i + b_j = 0 the derivative is 0, as that of ReLU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from videonl.kernels.operands import Operands
from videonl.kernels.operator import define, run

_BLOCK = 32  # rows of one product with a triangle of ones


def sorted_sum(op: Operands, *, entries: int, product: bool) -> Tensor:
    """W_z Σ_j ReLU(a_i + b_j) g_j / M -> (B, N, C_out); W_z acts on the M values, not the N sums.

    Args:
        op: the operands.
        entries: of the result that are worked on at a time.
        product: running sums by products with a triangle of ones, where those are exact and fast.
    """
    assert op.direction is not None
    first, second = op.direction.split(op.width)
    a, b = op.theta.project(op.queries, first), op.phi.project(op.keys, second)  # (B, N), (B, M)
    b = b if op.shift is None else b + op.shift
    values = op.g(op.values) / op.values.shape[1]  # (B, M, D)
    if op.out.weight is not None:
        values = values @ op.out.weight.mT  # (B, M, C_out)
    # An exported program runs without this library: there its operators are written out.
    if torch.compiler.is_exporting():
        y = _Sorted(a, b, product).sums(values)[0]
    else:
        y = run("relu_sums", a, b, values, entries, product)
    return y if op.out.bias is None else y + op.out.bias


class _Sorted:
    """The keys in their order, and the place of every query among them.

    Args:
        a: (B, N) one score per query.
        b: (B, M) one score per key.
        product: see :func:`sorted_sum`.
    """

    def __init__(self, a: Tensor, b: Tensor, product: bool) -> None:
        self.product = product
        wide = torch.promote_types(b.dtype, torch.float32)
        a, b = a.to(wide), b.to(wide)
        ordered, order = b.sort(dim=1, descending=True)
        # 0 where they are not finite: those keys are poison.
        self.gaps = -ordered.diff(dim=1).nan_to_num(0.0, 0.0, 0.0)[:, :, None]  # (B, M - 1, 1)
        taken = torch.searchsorted(-ordered, a)  # keys with -b < a
        last = (taken - 1).clamp(min=0)
        self.none = (taken == 0)[:, :, None]  # (B, N, 1)
        reach = (a + ordered.gather(1, last)).masked_fill(taken == 0, 0)
        # As in the literal form, where 0 · inf = NaN: a query that is not finite spoils itself,
        # such a key every query. A score of -inf is harmless, ReLU makes it 0.
        self.reach = (reach + 0 * a.clamp(min=0))[:, :, None]  # (B, N, 1)
        self.poison = 0 * b.clamp(min=0).sum(1)[:, None, None]
        start = torch.arange(b.shape[0], device=b.device)[:, None] * b.shape[1]
        self.order, self.last = order + start, last + start  # rows of all samples' keys

    def sums(self, values: Tensor, *, slopes_only: bool = False) -> tuple[Tensor, Tensor]:
        """Σ_j ReLU(a_i + b_j) g_j and its derivative in a_i: (B, M, D) -> (B, N, D) twice."""
        values = F.embedding(self.order, values.flatten(0, 1)).to(self.gaps.dtype)
        plain = _running_sum(values, self.product)  # S
        slopes = F.embedding(self.last, plain.flatten(0, 1)).masked_fill(self.none, 0)
        if slopes_only:
            return slopes, slopes
        moments = F.pad(_running_sum(self.gaps * plain[:, :-1], self.product), (0, 0, 1, 0))  # R
        moments = moments + (0 * plain[:, -1:] + self.poison)
        rest = F.embedding(self.last, moments.flatten(0, 1))
        return torch.addcmul(rest, self.reach, slopes), slopes


def _running_sum(t: Tensor, product: bool) -> Tensor:
    """Inclusive prefix sums over dim 1 of (B, M, D), in blocks: over rows a cumsum is serial."""
    if torch.compiler.is_exporting():
        return t.cumsum(1)  # of any number of frames
    batch, count, channels = t.shape
    size = _BLOCK if product else max(1, math.isqrt(count))
    t = F.pad(t, (0, 0, 0, -count % size)).view(batch, -1, size, channels)
    inside = t.new_ones(size, size).tril() @ t if product else t.cumsum(2)
    before = F.pad(inside[:, :-1, -1].cumsum(1), (0, 0, 1, 0))
    return (inside + before[:, :, None]).view(batch, -1, channels)[:, :count]


def _forward(a: Tensor, b: Tensor, values: Tensor, entries: int, product: bool) -> Tensor:
    """(B, N), (B, M), (B, M, D) -> (B, N, D), some channels at a time."""
    keys, out = _Sorted(a, b, product), values.new_empty(*a.shape, values.shape[2])
    width = max(8, entries // a.numel())
    for g, into in zip(values.split(width, 2), out.split(width, 2), strict=True):
        into.copy_(keys.sums(g)[0])
    return out


def _fake(a: Tensor, b: Tensor, values: Tensor, entries: int, product: bool) -> Tensor:
    return values.new_empty(*a.shape, values.shape[2])


def _backward(
    grad: Tensor, a: Tensor, b: Tensor, values: Tensor, entries: int, product: bool
) -> tuple[Tensor, Tensor, Tensor]:
    keys, queries = _Sorted(a, b, product), _Sorted(b, a, product)
    grad_a, grad_b = torch.zeros_like(keys.reach[:, :, 0]), torch.zeros_like(queries.reach[:, :, 0])
    grad_values = values.new_empty(values.shape)
    width = max(8, entries // a.numel())
    parts = grad.split(width, 2), values.split(width, 2), grad_values.split(width, 2)
    for one, g, into in zip(*parts, strict=True):
        result, slopes = queries.sums(one)
        into.copy_(result)
        grad_b += (slopes * g).sum(2)
        grad_a += (keys.sums(g, slopes_only=True)[0] * one).sum(2)
    return grad_a.to(a.dtype), grad_b.to(b.dtype), grad_values


define("relu_sums", _forward, _backward, fake=_fake)
