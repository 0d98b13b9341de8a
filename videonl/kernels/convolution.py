"""The convolutions of a clip in the form that the CPU computes fastest; same weights, same result.

In PyTorch a 3-d convolution of one clip on a CPU often misses the fast kernels: maps of few values
at a batch of one take a fallback (``slow_conv3d``), and oneDNN has no fast path for t×1×1. The
kernels of these networks are separable in a way that needs no 3-d convolution at all:

- 1×1×1 is a matrix product over positions;
- 1×k×k is a 2-d convolution whose batch are the frames;
- t×1×1 is a 2-d convolution over (time, position), or, where a gradient is needed, one matrix
  product per tap that adds to the frames it belongs to (its backward pass is made of such too).

All of these are views of a clip in ``channels_last_3d``. The sums run in another order, so results
differ by the rounding of float32 (about 1e-6 of the largest value).
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function


class ClipConv3d(nn.Conv3d):
    """An ``nn.Conv3d``, with its parameters and state-dict keys, that picks the cheapest form.

    The plain 3-d convolution runs on any other device, for other layouts than
    ``channels_last_3d``, and while a graph is captured (compile, export, trace, ONNX).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T', H', W')."""
        if not takes_flat_form(self, x):
            return super().forward(x)
        time, *space = self.kernel_size
        if self.stride == (1, 1, 1) and time == max(space) == 1:
            return by_position(x, self.weight, self.bias)
        if time == self.stride[0] == 1:
            return by_frame(x, self.weight, self.bias, self.stride[1:], self.padding[1:])  # type: ignore[arg-type]
        if self.stride == (1, 1, 1) and space == [1, 1]:
            learns = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
            if learns and torch.is_autocast_enabled("cpu"):
                return super().forward(x)
            form = by_tap if learns else along_time
            return form(x, self.weight, self.bias)
        return super().forward(x)


def takes_flat_form(conv: nn.Conv3d, x: Tensor) -> bool:
    """Whether a convolution of ``x`` may be computed without a 3-d convolution."""
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and x.dim() == 5
        and x.is_contiguous(memory_format=torch.channels_last_3d)
        and conv.groups == 1
        and conv.dilation == (1, 1, 1)
        and conv.padding == tuple(extent // 2 for extent in conv.kernel_size)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch.onnx.is_in_onnx_export()
    )


def by_position(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """1×1×1: (B, C, T, H, W), (C', C, 1, 1, 1) -> (B, C', T, H, W) as a matrix product."""
    return F.linear(x.permute(0, 2, 3, 4, 1), weight.flatten(1), bias).permute(0, 4, 1, 2, 3)


def by_frame(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """1×k×k: the frames of all clips are the batch of a 2-d convolution."""
    frames = x.transpose(1, 2).flatten(0, 1)  # (B·T, C, H, W)
    y = F.conv2d(frames, weight.squeeze(2), bias, stride, padding)
    return y.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


def along_time(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """t×1×1: a 2-d convolution over (time, position)."""
    y = F.conv2d(x.flatten(3), weight.squeeze(4), bias, padding=(weight.shape[2] // 2, 0))
    return y.unflatten(3, x.shape[3:])


def by_tap(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """t×1×1 that learns: a matrix product per tap, added where it belongs; so is its gradient."""
    rows = x.permute(0, 2, 3, 4, 1)  # (B, T, H, W, C), contiguous
    matrices = weight.flatten(2).permute(2, 0, 1).contiguous()  # (t, C', C)
    y = _TapSum.apply(rows.flatten(0, 3), matrices, bias, x.shape[0], x.shape[2])
    return y.unflatten(0, rows.shape[:4]).permute(0, 4, 1, 2, 3)


class _TapSum(Function):
    """Σ_tap of the frames shifted by the tap times its matrix; nothing of the size t·N is made."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, matrices: Tensor, bias: Tensor | None, clips: int, frames: int
    ) -> Tensor:
        """Rows (B·N, C) of ``clips`` of ``frames`` each, matrices (t, C', C) -> (B·N, C')."""
        ctx.save_for_backward(rows, matrices)
        ctx.shifts = list(_shifts(len(rows), len(matrices), clips, frames))
        total = F.linear(rows, matrices[len(matrices) // 2], bias)
        for tap, to, source in ctx.shifts:
            total[to].addmm_(rows[source], matrices[tap].t())
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The transposed products; differentiable itself."""
        rows, matrices = ctx.saved_tensors
        middle, grad = len(matrices) // 2, grad.contiguous()
        grad_rows = grad_matrices = None
        if ctx.needs_input_grad[0]:
            grad_rows = grad @ matrices[middle]
            for tap, to, source in ctx.shifts:
                grad_rows[source].addmm_(grad[to], matrices[tap])
        if ctx.needs_input_grad[1]:
            each = [torch.zeros_like(matrices[0]) for _ in matrices]
            each[middle] = grad.t() @ rows
            for tap, to, source in ctx.shifts:
                each[tap].addmm_(grad[to].t(), rows[source])
            grad_matrices = torch.stack(each)
        grad_bias = grad.sum(0) if ctx.needs_input_grad[2] else None
        return grad_rows, grad_matrices, grad_bias, None, None


def _shifts(rows: int, taps: int, clips: int, frames: int) -> Iterator[tuple[int, slice, slice]]:
    """(tap, rows written to, rows read) for every clip and every tap but the middle one."""
    middle, size = taps // 2, rows // clips
    for start, tap in product(range(0, rows, size), range(taps)):
        shift = (tap - middle) * (size // frames)  # frame t takes frame t + tap - middle
        if 0 < abs(shift) < size:
            first, last = start + max(0, -shift), start + size - max(0, shift)
            yield tap, slice(first, last), slice(first + shift, last + shift)
