"""Softmax attention of wide heads on a GPU by Triton tiles: no N x M matrix is kept.

For widths that no flash kernel serves (C or D over 256, C ≠ D, float32). The forward pass is an
online softmax. The backward pass goes through the queries in blocks: one kernel writes the weights
P and scale · dS of a block, three matrix products of the BLAS library finish it:

    dV = Pᵀ dO      dQ = (scale · dS) K      dK = (scale · dS)ᵀ Q      dS = P ∘ (dO Vᵀ - δ)

This file needs torch alone; the kernels stand in ``softmax_tiles_triton``, imported at the first
call. The two operators are ``videonl::softmax_tiles`` and ``videonl::softmax_tiles_backward``.
"""

from __future__ import annotations

import os
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton's own switch: kernels on the CPU


@cache
def unavailable() -> str | None:
    """Why this process cannot run the tiles, in words; None where it can."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    if _INTERPRETED:
        return None
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if torch.version.hip is not None:
        return "the device is AMD's, on which the tiles were never tried"
    major, minor = torch.cuda.get_device_capability()
    if major < 8:
        return f"the device has compute capability {major}.{minor}; the tiles need 8.0"
    return None


def takes_tf32() -> bool:
    """Whether torch may multiply float32 matrices in TF32; without it float32 tiles are slow."""
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


def attend(queries: Tensor, keys: Tensor, values: Tensor, *, scale: float) -> Tensor:
    """softmax(scale · q kᵀ) v with scores in float32, differentiable once.

    Args:
        queries: (B, N, C), in float16, bfloat16 or float32.
        keys: (B, M, C), in the dtype of the queries.
        values: (B, M, D), in the dtype of the queries.
        scale: factor on the scores.

    Returns:
        (B, N, D), contiguous.
    """
    return _Attend.apply(queries, keys, values, scale)[0]


class _Attend(Function):
    """The operator with its gradient; a gradient of the gradient is refused."""

    generate_vmap_rule = True

    @staticmethod
    def forward(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Any:
        return torch.ops.videonl.softmax_tiles(queries, keys, values, scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        queries, keys, values, ctx.scale = inputs
        ctx.save_for_backward(queries, keys, values, *output)
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return *_Gradients.apply(grad, *ctx.saved_tensors, ctx.scale), None


class _Gradients(Function):
    """The gradients, themselves without one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*arguments: Any) -> Any:
        return torch.ops.videonl.softmax_tiles_backward(*arguments)

    @staticmethod
    def setup_context(*_: Any) -> None:
        """Nothing to keep."""

    @staticmethod
    def backward(*_: Any) -> tuple[None, ...]:
        raise RuntimeError(
            "The Triton tiles of the softmax have no second-order gradients; "
            "use NonLocalBlock(implementation='reference')."
        )


def _run(name: str, *arguments: Any) -> tuple[Tensor, ...]:
    """``forward`` or ``backward`` of the kernels; Triton is imported here."""
    from videonl.kernels import softmax_tiles_triton

    return getattr(softmax_tiles_triton, name)(*arguments, tf32=takes_tf32())


def _fake_forward(q: Tensor, _: Tensor, v: Tensor, __: float) -> tuple[Tensor, Tensor]:
    batch, count = q.shape[:2]
    return v.new_empty(batch, count, v.shape[2]), v.new_empty(batch, count, dtype=torch.float32)


def _fake_backward(_: Tensor, q: Tensor, k: Tensor, v: Tensor, *__: Any) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in (q, k, v))


_LIBRARY = torch.library.Library("videonl", "FRAGMENT")
_ROWS = "Tensor queries, Tensor keys, Tensor values"
_SAVED = "Tensor out, Tensor log_sum, float scale"
for _name, _schema, _fake in (
    ("forward", f"softmax_tiles({_ROWS}, float scale) -> (Tensor, Tensor)", _fake_forward),
    (
        "backward",
        f"softmax_tiles_backward(Tensor grad, {_ROWS}, {_SAVED}) -> (Tensor, Tensor, Tensor)",
        _fake_backward,
    ),
):
    _operator = _LIBRARY.define(_schema, tags=torch.Tag.pt2_compliant_tag)
    _LIBRARY.impl(_operator, partial(_run, _name), "CPU" if _INTERPRETED else "CUDA")
    torch.library.register_fake(f"videonl::{_operator}", _fake, lib=_LIBRARY)
