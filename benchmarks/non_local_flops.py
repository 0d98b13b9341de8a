"""Multiplications and additions of a training step of one block, counted from the formulas."""

from __future__ import annotations


def step_gflop(contender: str, affinity: str, shape: tuple[int, int, int, int]) -> float:
    """Gflop of the matrix products of forward and backward; what is linear in N·C is left out.

    Args:
        contender: "videonl" counts its fast form; the others the N x M matrix.
        affinity: the pairwise function.
        shape: channels, frames, height and width; inner width is half, keys are pooled 1 x 2 x 2.
    """
    channels, frames, height, width = shape
    inner = channels // 2
    queries = frames * height * width
    keys = frames * (height // 2) * (width // 2)
    one = channels * inner
    source = queries if contender == "mmcv" else keys  # it pools after φ and g
    linear = 0 if affinity == "gaussian" else queries * one + source * one
    linear += source * one + queries * one
    logit_width = channels if affinity == "gaussian" else inner
    pairs = queries * keys * (logit_width + inner)
    if affinity == "concatenation":
        pairs = queries * keys * inner
    if contender != "videonl":
        return 6e-9 * (linear + pairs)
    if affinity == "dot_product":
        cheaper = min(2 * queries * one, queries * channels**2)
        return 6e-9 * (2 * keys * one + keys * inner**2 + cheaper + inner * one)
    if affinity == "concatenation":
        return 6e-9 * (2 * keys * one)
    # The logits are computed again in the backward pass, but for the rows that are kept.
    kept = min(queries, 5 * queries * logit_width // keys)
    return 6e-9 * (linear + pairs) + 2e-9 * (queries - kept) * keys * logit_width
