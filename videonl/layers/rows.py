"""Linear maps of rows (B, N, C), in either memory layout, without copies.

A contiguous map (B, C, *spatial) gives rows with strides (.., 1, N), a channels-last map gives
contiguous rows. The matrix product takes both as they are; a 1x1x1 convolution reorders them
(measured: 31 against 49 ms, forward + backward, 512 -> 256 channels, 16x28x28, two CPU cores).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable


def in_eager_cpu(x: Tensor) -> bool:
    """Whether the hand-written forward and backward run; elsewhere plain operators are traced."""
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return x.device.type == "cpu" and type(x) in (Tensor, nn.Parameter) and not traced


def has_only_finite(x: Tensor) -> bool:
    """Whether no value is NaN or infinite; only ever asked where the answer costs no waiting."""
    return bool(x.detach().sum(dtype=torch.promote_types(x.dtype, torch.float32)).isfinite())


def is_channels_first(rows: Tensor) -> bool:
    """Whether the rows (B, N, C) are a view of a contiguous map (B, C, N)."""
    return rows.stride(2) != 1 and rows.stride(1) == 1


def empty_rows(batch: int, count: int, channels: int, like: Tensor, *, first: bool) -> Tensor:
    """Uninitialised rows (batch, count, channels), channels-first or contiguous."""
    if first:
        return like.new_empty(batch, channels, count).transpose(1, 2)
    return like.new_empty(batch, count, channels)


def linear_rows(
    rows: Tensor, weight: Tensor, bias: Tensor | None = None, *, channels_first: bool | None = None
) -> Tensor:
    """The linear map x Wᵀ + b of every row.

    Args:
        rows: (B, N, C), any strides.
        weight: (D, C), or (B, D, C) for one map per sample.
        bias: (D,), or (B, D) with one map per sample.
        channels_first: memory layout of the result; None keeps that of ``rows``.

    Returns:
        (B, N, D).
    """
    first = is_channels_first(rows) if channels_first is None else channels_first
    if in_eager_cpu(rows):
        return _LinearRows.apply(rows, weight, bias, first)
    if weight.dim() == 2 and not first and not is_channels_first(rows):
        return torch.nn.functional.linear(rows, weight, bias)
    weight = weight.expand(rows.shape[0], -1, -1) if weight.dim() == 2 else weight
    if first:
        y = weight @ rows.transpose(1, 2)
        return (y if bias is None else y + bias.unsqueeze(-1)).transpose(1, 2)
    y = rows @ weight.transpose(1, 2)
    return y if bias is None else y + (bias if bias.dim() == 1 else bias[:, None])


class _LinearRows(Function):
    """The product sample by sample, straight into the asked layout; gradients likewise."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, first: bool) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.has_bias = bias is not None
        batch, count, _ = rows.shape
        out = empty_rows(batch, count, weight.shape[-2], rows, first=first)
        if weight.dim() == 2 and not first and rows.is_contiguous():
            _product(rows.flatten(0, 1), weight.t(), bias, out.flatten(0, 1))
            return out
        for i in range(batch):
            shared = weight.dim() == 2
            one = weight if shared else weight[i]
            shift = bias if bias is None or shared else bias[i]
            _product(rows[i], one.t(), shift, out[i])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        shared = weight.dim() == 2
        batch, count, channels = rows.shape
        need_rows, need_weight = ctx.needs_input_grad[:2]
        grad_rows = grad_weight = grad_bias = None
        if need_rows:
            grad_rows = empty_rows(batch, count, channels, rows, first=is_channels_first(rows))
            if shared and grad.is_contiguous() and grad_rows.is_contiguous():
                torch.mm(grad.flatten(0, 1), weight, out=grad_rows.flatten(0, 1))
            else:
                for i in range(batch):
                    torch.mm(grad[i], weight if shared else weight[i], out=grad_rows[i])
        if need_weight:
            if shared and grad.is_contiguous() and rows.is_contiguous():
                grad_weight = grad.flatten(0, 1).t() @ rows.flatten(0, 1)
            else:
                grad_weight = torch.zeros_like(weight)
                for i in range(batch):
                    (grad_weight if shared else grad_weight[i]).addmm_(grad[i].t(), rows[i])
        if ctx.has_bias and ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 1)) if shared else grad.sum(1)
        return grad_rows, grad_weight, grad_bias, None


def _product(a: Tensor, b: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(a, b, out=out)
    else:
        torch.addmm(bias, a, b, out=out)
