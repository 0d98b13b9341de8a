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
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from videonl.kernels.operator import define, run

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


def _forward(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The sum (B, N, D) and log2 Σ_j exp(s_ij) (B, N); Triton is imported here."""
    from videonl.kernels import softmax_tiles_triton

    return softmax_tiles_triton.forward(queries, keys, values, scale)


def _backward(
    grad: Tensor, queries: Tensor, keys: Tensor, values: Tensor, out: Tensor, log_sum: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    from videonl.kernels import softmax_tiles_triton

    return softmax_tiles_triton.backward(grad, queries, keys, values, out, log_sum, scale)


def _fake(q: Tensor, _: Tensor, v: Tensor, __: float) -> tuple[Tensor, Tensor]:
    batch, count = q.shape[:2]
    return v.new_empty(batch, count, v.shape[2]), v.new_empty(batch, count, dtype=torch.float32)


define("softmax_tiles", _forward, _backward, fake=_fake)


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
    return run("softmax_tiles", queries, keys, values, scale)[0]
