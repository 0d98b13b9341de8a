"""Exact ways to compute a non-local sum: one contract, one table, one choice.

:data:`TABLE` lists the forms of every sum, the preferred first; the first one that does not refuse
is used. Only the refusals below depend on device, type and size.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from videonl.kernels.associate import associated_sum
from videonl.kernels.convolution import ClipConv3d
from videonl.kernels.literal import blockwise_sum, literal_sum
from videonl.kernels.operands import Form, Linear, Operands
from videonl.kernels.softmax import block_sum, fused_sum, kept_sum, tiled_sum
from videonl.kernels.sorted_relu import sorted_sum

HALF = (torch.float16, torch.bfloat16)
# Entries of a block of work: what the caches of a CPU hold, and what fills a GPU.
CPU_ENTRIES, GPU_ENTRIES = 1 << 21, 1 << 25
# The softmax keeps its matrix while the keys are at most this many times its widths: then it is
# smaller than a few maps of features.
KEPT = 4
# Widest head of a flash kernel on CUDA.
FLASH_WIDTH = 256
# Entries of the matrix from which on association pays its fixed cost.
LARGE_MATRIX = 100_000
# The same for a pairwise function of one's own, whose blocks gain memory only, and no time.
LARGE_MATRIX_IN_BLOCKS = 2_000_000
# Sorting pays from so many multiplications on a CPU, so many pairs on a GPU.
SORTING, GPU_PAIRS = 80_000_000, {2: 200_000_000, 4: 100_000_000, 8: 100_000_000}


def cpu_multiplies_bf16() -> bool:
    """Whether this CPU's matrix unit (AMX) multiplies in bfloat16 and torch may use it.

    Elsewhere bf16 is slower than float32, without AVX-512 tens of times. oneDNN's own variable
    ``ONEDNN_MAX_CPU_ISA`` (or ``DNNL_``) and torch's ``ATEN_CPU_CAPABILITY`` may forbid it.
    """
    most = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL"
    return (
        torch.cpu._is_amx_tile_supported()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and torch.backends.mkldnn.is_available()
        and (most.upper() in ("ALL", "DEFAULT") or "AMX" in most.upper())
    )


def pairs(op: Operands) -> int:
    """Entries of the matrix, N · M of one sample."""
    return op.queries.shape[1] * op.keys.shape[1]


def refuses_kept(op: Operands) -> str | None:
    """The softmax with its matrix."""
    if op.keys.shape[1] > KEPT * max(op.width, op.depth):
        return f"the keys are more than {KEPT} times the width: its matrix is the largest tensor"
    return None


def refuses_fused(op: Operands) -> str | None:
    """Torch's fused attention, where it is a flash kernel."""
    if torch.compiler.is_exporting():
        return None  # the only one without an operator of this library
    if op.width != op.depth:
        return "queries and values differ in width: torch would build the matrix"
    if op.queries.device.type == "cpu":
        return None
    if not op.queries.is_cuda:
        return "no flash kernel is known on this device"
    if op.queries.dtype not in HALF:
        return "flash kernels take half types only"
    if op.width > FLASH_WIDTH:
        return f"flash kernels end at a width of {FLASH_WIDTH}"
    if torch.cuda.get_device_capability(op.queries.device) < (8, 0):
        return "flash kernels need compute capability 8.0"
    return None


def refuses_tiles(op: Operands) -> str | None:
    """Triton's tiles."""
    if not op.queries.is_cuda:
        return "Triton runs on CUDA only"
    if op.queries.dtype not in (*HALF, torch.float32):
        return "its tiles are for float32 and half types"
    return tiles_are_unavailable(op.queries.dtype)


def tiles_are_unavailable(dtype: torch.dtype) -> str | None:
    """Why Triton's tiles do not run in this process, or None; imported on CUDA only."""
    from videonl.kernels.softmax_tiles import takes_tf32, unavailable

    if dtype == torch.float32 and not takes_tf32():
        return "its float32 tiles multiply in TF32 only, which torch may not use here"
    return unavailable()


# What torch.compiler.assume_constant_result sets; that function would import all of dynamo here.
tiles_are_unavailable._dynamo_marked_constant = True  # type: ignore[attr-defined]


def refuses_literal_product(op: Operands) -> str | None:
    """The dot product with its matrix: only where association has more multiplications."""
    n, m = op.queries.shape[1], op.keys.shape[1]
    if n * m > LARGE_MATRIX and n * m * 2 > (n + m) * op.width:
        return "products in another order have fewer multiplications"
    if op.queries.is_cuda:
        return "products in another order need fewer passes over memory"
    return None


def refuses_literal_relu(op: Operands) -> str | None:
    """Concatenation with its matrix: only where sorting does not pay for itself."""
    if op.queries.device.type != "cpu":
        few = op.queries.shape[0] * pairs(op) <= GPU_PAIRS[op.queries.dtype.itemsize]
    else:
        few = op.queries.shape[1] * op.width * (op.keys.shape[1] + 4 * op.width) <= SORTING
    return None if few else "sorting the keys is cheaper than all pairs"


def refuses_literal_own(op: Operands) -> str | None:
    """A pairwise function of one's own with its matrix."""
    return "its matrix is large" if pairs(op) > LARGE_MATRIX_IN_BLOCKS else None


def refuses_checkpoints(_op: Operands) -> str | None:
    """Blocks of plain operators, each computed again in the backward pass."""
    if not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack():
        return "torch.func does not transform what is computed again"
    return None


def _entries(op: Operands) -> int:
    return CPU_ENTRIES if op.queries.device.type == "cpu" else GPU_ENTRIES


def _blocks(op: Operands) -> Tensor:
    return block_sum(op, entries=_entries(op))


def _any_blocks(op: Operands) -> Tensor:
    return blockwise_sum(op, entries=_entries(op))


def _sorted(op: Operands) -> Tensor:
    cpu = op.queries.device.type == "cpu"
    return sorted_sum(op, entries=_entries(op) // (2 if cpu else 1), product=cpu)


TABLE: dict[str, tuple[Form, ...]] = {
    "softmax": (
        Form("matrix kept", True, kept_sum, refuses_kept),
        Form("fused attention", False, fused_sum, refuses_fused),
        Form("Triton tiles", False, tiled_sum, refuses_tiles),
        Form("blocks of queries", False, _blocks),
    ),
    "dot_product": (
        Form("literal", True, literal_sum, refuses_literal_product),
        Form("associated", False, associated_sum),
    ),
    "relu": (
        Form("literal", True, literal_sum, refuses_literal_relu),
        Form("sorted", False, _sorted),
    ),
    "own": (
        Form("literal", True, literal_sum, refuses_literal_own),
        Form("blocks of queries", False, _any_blocks, refuses_checkpoints),
        Form("literal", True, literal_sum),
    ),
}


def explain(op: Operands) -> list[str]:
    """The forms of one sum in their order: which one is used, and why the others are not."""
    taken, lines = choose(op), []
    for form in TABLE[op.kind]:
        reason = form.refuses and form.refuses(op)
        why = "taken" if form is taken else f"no: {reason}" if reason else "next"
        lines.append(f"{form.name}: {why}")
    return lines


def choose(op: Operands, implementation: str = "auto") -> Form:
    """The first form that does not refuse; "fast" takes none that holds the matrix."""
    for form in TABLE[op.kind]:
        if implementation != "auto" and form.holds_matrix:
            continue
        if form.refuses is None or form.refuses(op) is None:
            return form
    raise ValueError(
        f"implementation={implementation!r}: no form without the N x M matrix can be used here "
        "(torch.func does not transform an operator); use 'auto' or 'reference'."
    )


def non_local_sum(op: Operands, implementation: str = "auto") -> Tensor:
    """W_z y by the form that :func:`choose` takes -> (B, N, C_out)."""
    form, dtype = choose(op, implementation), op.queries.dtype
    if dtype in HALF and op.queries.device.type == "cpu" and form.compute is not literal_sum:
        # Half sums in another order round up to 6 times as much.
        return form.compute(op.to(torch.float32)).to(dtype)
    return form.compute(op)


__all__ = [
    "TABLE",
    "ClipConv3d",
    "Form",
    "Linear",
    "Operands",
    "choose",
    "cpu_multiplies_bf16",
    "non_local_sum",
]
