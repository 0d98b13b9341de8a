"""W_z, batch norm and the residual in one pass: z_i = BN(W_z y_i) + x_i, with little memory.

As three modules the training step of the block spends a good part of its time here, on moving
three maps of the size of its input, and its peak memory is here too. In one function the backward
pass never holds the gradient of W_z y: it is made block by block and used at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from videonl.layers.positions import to_rows
from videonl.layers.rows import empty_rows, in_eager_cpu

# Entries of the block that is worked on at a time: in the cache, or enough for a matrix product.
_ENTRIES = 1 << 18
_ENTRIES_OF_PRODUCT = 1 << 21
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_Block = tuple[slice, slice, slice]


def can_join(norm: nn.Module | None, rows: Tensor, residual: Tensor) -> bool:
    """Whether :func:`project_norm_add` computes what ``norm`` would: plain batch statistics.

    Args:
        norm: what follows W_z.
        rows: (B, N, K) the rows that W_z gets.
        residual: (B, C, *spatial) the map to add.
    """
    if type(norm) not in _BATCH_NORMS or not in_eager_cpu(rows):
        return False
    assert isinstance(norm, _BATCH_NORMS)
    plain = not any(getattr(norm, hook) for hook in _HOOKS)
    batch_statistics = norm.training or norm.running_mean is None
    dtypes = {rows.dtype, residual.dtype, *(p.dtype for p in norm.parameters())}
    many = residual.numel() > residual.shape[1]
    exact = dtypes in ({torch.float32}, {torch.float64})
    return plain and batch_statistics and exact and many and _layout(residual) is not None


def _layout(x: Tensor) -> torch.memory_format | None:
    """How a map lies in memory, if it is one of torch's formats."""
    formats = [torch.contiguous_format]
    formats += {4: [torch.channels_last], 5: [torch.channels_last_3d]}.get(x.dim(), [])
    return next((f for f in formats if x.is_contiguous(memory_format=f)), None)


def project_norm_add(
    rows: Tensor, weight: Tensor | None, bias: Tensor | None, norm: nn.Module, residual: Tensor
) -> Tensor:
    """BN(rows Wᵀ + b) + residual with the statistics of the batch, which ``norm`` takes note of.

    Args:
        rows: (B, N, K).
        weight: (C, K), (B, C, K) for one map per sample, or None if K = C and nothing is to do.
        bias: (C,), (B, C) with one map per sample, or None.
        norm: a batch norm that :func:`can_join` accepts.
        residual: (B, C, *spatial) the map to add; the result gets its memory layout.

    Returns:
        (B, C, *spatial).
    """
    assert isinstance(norm, _BATCH_NORMS)
    out, mean, variance = _ProjectNormAdd.apply(
        rows, weight, bias, norm.weight, norm.bias, residual, norm.eps
    )
    if norm.training and norm.running_mean is not None:
        _take_note(norm, mean, variance, count=residual.numel() // residual.shape[1])
    return out


@torch.no_grad()
def _take_note(norm: Any, mean: Tensor, variance: Tensor, *, count: int) -> None:
    """Running statistics, as torch's batch norm keeps them: the variance unbiased."""
    norm.num_batches_tracked.add_(1)
    momentum = norm.momentum
    if momentum is None:
        momentum = 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_((variance * (count / (count - 1))).to(norm.running_var.dtype), momentum)


def _chunks(shape: torch.Size, *, first: bool, entries: int = _ENTRIES) -> Iterator[list[_Block]]:
    """Blocks of (B, N, C) that lie together in memory; chunks have all positions of a channel."""
    batch, count, channels = shape
    everything = slice(None)
    if first:
        width = 1 << max(2, (entries // (batch * count)).bit_length() - 1)
        for start in range(0, channels, width):
            yield [(everything, everything, slice(start, start + width))]
    else:
        height = max(1, entries // channels)
        yield [
            (slice(i, i + 1), slice(start, start + height), everything)
            for i in range(batch)
            for start in range(0, count, height)
        ]


class _Room:
    """Memory for one block, taken once: fresh memory costs more than the sums done in it."""

    def __init__(self, *, first: bool) -> None:
        self.first = first
        self.memory: Tensor | None = None

    def like(self, block: Tensor) -> Tensor:
        """Uninitialised, of the shape of the block and laid out as it."""
        if self.memory is None or self.memory.numel() < block.numel():
            self.memory = block.new_empty(block.numel())
        batch, count, channels = block.shape
        flat = self.memory[: block.numel()]
        if self.first:
            return flat.view(batch, channels, count).transpose(1, 2)
        return flat.view(batch, count, channels)


def _sizes(rows: Tensor) -> tuple[int, int, int]:
    batch, count, channels = rows.shape
    return batch, count, channels


def _project(rows: Tensor, weight: Tensor, bias: Tensor | None, *, first: bool) -> Tensor:
    batch, count, _ = rows.shape
    z = empty_rows(batch, count, weight.shape[-2], rows, first=first)
    for i in range(batch):
        one = weight if weight.dim() == 2 else weight[i]
        if bias is None:
            torch.mm(rows[i], one.t(), out=z[i])
        else:
            torch.addmm(bias[i], rows[i], one.t(), out=z[i])
    return z


def _moments(z: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of every channel of (B, N, C), in two passes."""
    count = z.shape[0] * z.shape[1]
    mean, variance = z.new_zeros(2, z.shape[2])
    room = _Room(first=first)
    for chunk in _chunks(z.shape, first=first):
        channels = chunk[0][2]
        for block in chunk:
            mean[channels] += z[block].sum((0, 1))
        mean[channels] /= count
        for block in chunk:
            centred = torch.sub(z[block], mean[channels], out=room.like(z[block]))
            variance[channels] += centred.mul_(centred).sum((0, 1))
    return mean, variance.div_(count)


class _ProjectNormAdd(Function):
    """Forward and backward by blocks of channels, or of positions in a channels-last map."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        residual: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        # A map and no view of one: what comes next may work in place.
        result = torch.empty(residual.shape, dtype=residual.dtype, memory_format=_layout(residual))
        first = result.is_contiguous()
        # A bias that all samples share goes with the mean.
        own = bias if bias is not None and bias.dim() == 2 else None
        z = rows if weight is None else _project(rows, weight, own, first=first)
        mean, variance = _moments(z, first=first)
        inverse = (variance + eps).rsqrt()
        scale = inverse if gamma is None else inverse * gamma
        shift = -mean * scale if beta is None else beta - mean * scale
        shared = bias if own is None else None
        if shared is not None:
            shift = shift + 0 * shared  # a bias that is NaN or inf spoils the result
        residual, out = to_rows(residual), to_rows(result)
        for chunk in _chunks(z.shape, first=first):
            for block in chunk:
                channels = block[2]
                torch.addcmul(residual[block], z[block], scale[channels], out=out[block])
                out[block].add_(shift[channels])
        ctx.save_for_backward(rows, weight, None if weight is None else z, gamma, mean, inverse)
        ctx.shapes = (None if bias is None else bias.shape, None if beta is None else beta.shape)
        ctx.first = first
        mean = mean if shared is None else mean + shared
        ctx.mark_non_differentiable(mean, variance)
        return result, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        rows, weight, z, gamma, mean, inverse = ctx.saved_tensors
        z = rows if z is None else z
        scale = inverse if gamma is None else inverse * gamma
        grad_residual, grad = grad, to_rows(grad)
        plain, centred = _gradient_sums(grad, z, mean, first=ctx.first)
        bias_shape, beta_shape = ctx.shapes
        grad_bias = None if bias_shape is None else z.new_zeros(bias_shape)
        count = z.shape[0] * z.shape[1]
        move, tilt = -scale * plain / count, -scale * inverse * inverse * centred / count
        if weight is None:
            grad_rows, grad_weight = empty_rows(*_sizes(z), z, first=ctx.first), None
        else:
            grad_rows, grad_weight = torch.zeros_like(rows), torch.zeros_like(weight)
        room = _Room(first=ctx.first)
        entries = _ENTRIES if weight is None else _ENTRIES_OF_PRODUCT
        for chunk in _chunks(z.shape, first=ctx.first, entries=entries):
            for block in chunk:
                channels = block[2]
                grad_z = grad_rows[block] if weight is None else room.like(z[block])
                torch.sub(z[block], mean[channels], out=grad_z).mul_(tilt[channels])
                grad_z.addcmul_(grad[block], scale[channels]).add_(move[channels])
                if weight is not None:
                    _pull_back(grad_z, block, rows, weight, grad_rows, grad_weight)
                if grad_bias is not None and grad_bias.dim() == 2:
                    grad_bias[block[0], channels] += grad_z.sum(1)
        return (
            grad_rows,
            grad_weight,
            grad_bias,
            None if gamma is None else centred * inverse,
            None if beta_shape is None else plain,
            grad_residual,
            None,
        )


def _gradient_sums(grad: Tensor, z: Tensor, mean: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
    """Per channel: Σ grad and Σ grad · (z - mean)."""
    plain, centred = z.new_zeros(2, z.shape[2])
    room = _Room(first=first)
    for chunk in _chunks(z.shape, first=first):
        for block in chunk:
            channels = block[2]
            plain[channels] += grad[block].sum((0, 1))
            product = torch.sub(z[block], mean[channels], out=room.like(z[block]))
            centred[channels] += product.mul_(grad[block]).sum((0, 1))
    return plain, centred


def _pull_back(
    grad: Tensor,
    block: _Block,
    rows: Tensor,
    weight: Tensor,
    grad_rows: Tensor,
    grad_weight: Tensor | None,
) -> None:
    """Add what one block of the gradient of W y gives to the gradients of y and W."""
    samples, positions, channels = block
    assert grad_weight is not None
    for j, i in enumerate(range(rows.shape[0])[samples]):
        shared = weight.dim() == 2
        one = weight[channels] if shared else weight[i, channels]
        one_grad = grad_weight[channels] if shared else grad_weight[i, channels]
        grad_rows[i, positions].addmm_(grad[j], one)
        one_grad.addmm_(grad[j].t(), rows[i, positions])
