"""The Triton kernels of :mod:`videonl.kernels.softmax_tiles`: imported only where they can run.

Notation: s = scale · q kᵀ, p = exp(s - log Σ exp s), δ_i = Σ_d dO_id O_id. Scores stay in float32
registers; logarithms and exponentials are to base 2, which is what the hardware computes.
"""

# A kernel's arguments have no Python types.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from math import e, log2
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

# Entries of P, and of dS, that are held at a time: enough that every product fills the device.
ENTRIES = 1 << 25
ROWS = 128  # the fewest queries of a block, and the step between its sizes


@triton.jit
def _rows_dot(a, b, a_ok, b_ok, WIDTH: tl.constexpr, STEP: tl.constexpr):
    """A Bᵀ of two sets of rows, given by pointers to their starts, by steps of their width."""
    total = tl.zeros((a.shape[0], b.shape[0]), tl.float32)  # (rows of a, rows of b)
    for start in range(0, WIDTH, STEP):
        column = start + tl.arange(0, STEP)
        inside = column < WIDTH
        left_ok, right_ok = a_ok[:, None] & inside[None, :], b_ok[None, :] & inside[:, None]
        left = tl.load(a[:, None] + column[None, :], mask=left_ok, other=0.0)
        right = tl.load(b[None, :] + column[:, None], mask=right_ok, other=0.0)
        total = tl.dot(left, right, total, input_precision="tf32")
    return total


@triton.jit
def weighted_sum(
    q, k, v, out, log_sum, factor, count, keys,
    q_batch, q_row, k_batch, k_row, v_batch, v_row,
    C: tl.constexpr, D: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, STEP: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Online softmax over key tiles; a program has one block of queries and one part of D.

    ``factor`` = scale · log2(e). A row whose scores are all -inf gives NaN, as torch's softmax.
    """
    tiles, parts = tl.cdiv(count, BLOCK_Q), tl.cdiv(D, PART)
    program = tl.program_id(0)  # the only axis without a limit of 65535
    part = program // tiles % parts
    sample = (program // (tiles * parts)).to(tl.int64)
    rows = program % tiles * BLOCK_Q + tl.arange(0, BLOCK_Q)
    columns = part * PART + tl.arange(0, PART)
    row_ok, column_ok = rows < count, columns < D
    q_rows = q + sample * q_batch + rows.to(tl.int64) * q_row
    top = tl.full((BLOCK_Q,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)
    result = tl.zeros((BLOCK_Q, PART), tl.float32)
    for start in range(0, keys, BLOCK_K):
        index = start + tl.arange(0, BLOCK_K)
        key_ok = index < keys
        k_rows = k + sample * k_batch + index.to(tl.int64) * k_row
        s = _rows_dot(q_rows, k_rows, row_ok, key_ok, C, STEP)  # (BLOCK_Q, BLOCK_K)
        s = tl.where(key_ok[None, :], s * factor, float("-inf"))
        new_top = tl.maximum(top, tl.max(s, 1))
        # Only -inf so far: subtract 0, or -inf - -inf would spoil the finite scores to come.
        base = tl.where(new_top == float("-inf"), 0.0, new_top)
        p = tl.exp2(s - base[:, None])
        shrink = tl.exp2(top - base)
        total = total * shrink + tl.sum(p, 1)
        v_rows = v + sample * v_batch + index.to(tl.int64) * v_row
        v_ok = key_ok[:, None] & column_ok[None, :]
        one_v = tl.load(v_rows[:, None] + columns[None, :], mask=v_ok, other=0.0)
        result *= shrink[:, None]  # (BLOCK_Q, PART)
        result = tl.dot(p.to(one_v.dtype), one_v, result, input_precision="tf32")
        top = new_top
    flat = sample * count + rows.to(tl.int64)
    ok = row_ok[:, None] & column_ok[None, :]
    found = (result / total[:, None]).to(out.dtype.element_ty)  # (BLOCK_Q, PART)
    tl.store(out + flat[:, None] * D + columns[None, :], found, mask=ok)
    if part == 0:
        tl.store(log_sum + flat, top + tl.log2(total), mask=row_ok)


@triton.jit
def weights_and_gradient(
    q, k, v, grad, log_sum, delta, weights, gradient, factor, scale, first, size, count, keys, wide,
    q_batch, q_row, k_batch, k_row, v_batch, v_row, grad_batch, grad_row,
    C: tl.constexpr, D: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, STEP: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """P and scale · dS = scale · P ∘ (dO Vᵀ - δ) of the ``size`` queries from ``first`` on.

    A matrix product with an epilogue, twice; tiles in groups of GROUP rows so that those of K and V
    are read from the L2 cache. ``weights`` and ``gradient`` are (B, size, wide), contiguous: rows
    of a multiple of 16, or what is stored in pieces spills. Nobody reads the columns from keys on.
    """
    tiles_q, tiles_k = tl.cdiv(size, BLOCK_Q), tl.cdiv(keys, BLOCK_K)
    sample = (tl.program_id(0) // (tiles_q * tiles_k)).to(tl.int64)
    tile = tl.program_id(0) % (tiles_q * tiles_k)
    group, place = tile // (GROUP * tiles_k), tile % (GROUP * tiles_k)
    height = min(tiles_q - group * GROUP, GROUP)
    local = (group * GROUP + place % height) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    index = place // height * BLOCK_K + tl.arange(0, BLOCK_K)
    row_ok, key_ok = local < size, index < keys
    rows, far = (first + local).to(tl.int64), index.to(tl.int64)
    lse = tl.load(log_sum + sample * count + rows, mask=row_ok, other=0.0)
    inner = tl.load(delta + sample * count + rows, mask=row_ok, other=0.0)
    q_rows, k_rows = q + sample * q_batch + rows * q_row, k + sample * k_batch + far * k_row
    s = _rows_dot(q_rows, k_rows, row_ok, key_ok, C, STEP)  # (BLOCK_Q, BLOCK_K)
    p = tl.exp2(s * factor - lse[:, None])
    entry = (sample * size + local.to(tl.int64))[:, None] * wide + index[None, :]
    ok = row_ok[:, None] & (index < wide)[None, :]
    tl.store(weights + entry, p.to(weights.dtype.element_ty), mask=ok)
    g_rows, v_rows = (
        grad + sample * grad_batch + rows * grad_row,
        v + sample * v_batch + far * v_row,
    )
    d = _rows_dot(g_rows, v_rows, row_ok, key_ok, D, STEP)  # (BLOCK_Q, BLOCK_K)
    ds = p * (d - inner[:, None]) * scale
    tl.store(gradient + entry, ds.to(gradient.dtype.element_ty), mask=ok)


class Tiles(NamedTuple):
    """Sizes of a kernel's tiles; ``third`` is PART of ``weighted_sum``, GROUP of the other."""

    queries: int
    keys: int
    step: int
    third: int
    warps: int
    stages: int


def choose_tiles(dtype: torch.dtype, major: int) -> tuple[Tiles, Tiles]:
    """The tiles of ``weighted_sum`` and of ``weights_and_gradient``.

    No choice spills registers or takes more than the 99 KB of the smallest device; ``major`` is
    that of the compute capability. Devices of 9 and 10 multiply tiles that stay in shared memory.
    """
    if dtype == torch.float32:  # in TF32
        return Tiles(64, 64, 32, 256, 8, 3), Tiles(128, 64, 32, 8, 8, 3)
    if major in (9, 10):
        return Tiles(64, 64, 64, 256, 4, 3), Tiles(128, 128, 64, 8, 8, 3)
    return Tiles(64, 64, 64, 256, 8, 3), Tiles(128, 64, 64, 8, 8, 3)


def forward(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The sum (B, N, D) and log2 Σ_j exp(s_ij) (B, N)."""
    q, k, v = (_in_rows(t) for t in (q, k, v))
    (batch, count, c), (_, keys, d) = q.shape, v.shape
    out = v.new_empty(batch, count, d)
    log_sum = v.new_empty(batch, count, dtype=torch.float32)
    if not keys or not out.numel():
        return out.zero_(), log_sum  # a sum over nothing
    tiles, _ = choose_tiles(q.dtype, _major(q))
    part = min(tiles.third, _power(d))
    programs = triton.cdiv(count, tiles.queries) * triton.cdiv(d, part) * batch
    with torch.cuda.device_of(q):
        weighted_sum[(programs,)](
            q, k, v, out, log_sum, scale * log2(e), count, keys, *_strides(q, k, v), c, d,
            tiles.queries, tiles.keys, min(tiles.step, _power(c)), part,
            **_options(tiles),
        )  # fmt: skip
    return out, log_sum


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, log_sum: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients dq (B, N, C), dk (B, M, C), dv (B, M, D), some samples at a time."""
    found = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
    if not grad.numel() or not k.numel():
        return found[0].zero_(), found[1].zero_(), found[2].zero_()
    rows = (_in_rows(t) for t in (grad, q, k, v))
    samples = max(1, ENTRIES // (ROWS * k.shape[1]))
    # A loss may be differentiated inside autocast, which must not change the dtype of a product.
    with torch.cuda.device_of(q), torch.autocast(q.device.type, enabled=False):
        parts: Any = zip(*(t.split(samples) for t in (*rows, out, log_sum, *found)), strict=True)
        for part in parts:
            _pull_back(*part, scale=scale)
    return found


def _pull_back(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, log_sum: Tensor,
    grad_q: Tensor, grad_k: Tensor, grad_v: Tensor, *, scale: float,
) -> None:  # fmt: skip
    """Write the three gradients, block of queries by block of queries."""
    (batch, count, c), (_, keys, d) = q.shape, v.shape
    _, tiles = choose_tiles(q.dtype, _major(q))
    delta = (grad.float() * out).sum(-1)  # (B, N)
    rows = min(count, max(ROWS, ENTRIES // (batch * keys) // ROWS * ROWS))
    wide = triton.cdiv(keys, 16) * 16
    room = q.new_empty(2, batch * rows * wide)
    total_k: Any = None
    total_v: Any = None
    for first in range(0, count, rows):
        part = slice(first, min(count, first + rows))
        size = part.stop - first
        both = room[:, : batch * size * wide].view(2, batch, size, wide)
        p, ds = both[..., :keys]  # (B, rows, M)
        programs = triton.cdiv(size, tiles.queries) * triton.cdiv(keys, tiles.keys) * batch
        weights_and_gradient[(programs,)](
            q, k, v, grad, log_sum, delta, *both, scale * log2(e), scale, first, size, count, keys,
            wide, *_strides(q, k, v, grad), c, d, tiles.queries, tiles.keys,
            min(tiles.step, _power(max(c, d))), tiles.third, **_options(tiles),
        )  # fmt: skip
        torch.bmm(ds, k, out=grad_q[:, part])  # (B, rows, C)
        if rows == count:  # one block: nothing to add up
            torch.bmm(ds.mT, q, out=grad_k)
            torch.bmm(p.mT, grad, out=grad_v)
            return
        total_k = _plus(total_k, ds.mT, q[:, part])  # (B, M, C)
        total_v = _plus(total_v, p.mT, grad[:, part])  # (B, M, D)
    grad_k.copy_(total_k)
    grad_v.copy_(total_v)


def _plus(total: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """A total in float32 and a b, whatever the dtype of ``a`` and ``b``."""
    if not a.is_cuda or a.dtype == torch.float32:
        a, b = a.float(), b.float()
        return torch.bmm(a, b) if total is None else total.baddbmm_(a, b)
    if total is None:
        return torch.bmm(a, b, out_dtype=torch.float32)
    return torch.baddbmm(total, a, b, out_dtype=torch.float32)


def _in_rows(t: Tensor) -> Tensor:
    """The tensor with the entries of a row side by side."""
    return t if t.stride(-1) == 1 else t.contiguous()


def _options(tiles: Tiles) -> dict[str, int | bool]:
    return {"num_warps": tiles.warps, "num_stages": tiles.stages, "enable_fp_fusion": True}


def _major(t: Tensor) -> int:
    """Of the compute capability of the tensor's device; on a CPU the kernels are interpreted."""
    return torch.cuda.get_device_capability(t.device)[0] if t.is_cuda else 9


def _power(n: int) -> int:
    """The width of a tile that holds n columns; a matrix product needs 16."""
    return max(16, triton.next_power_of_2(n))


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for t in tensors for stride in t.stride()[:2]]
