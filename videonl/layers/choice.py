"""The rule behind ``implementation="auto"``: which exact form is the cheaper one."""

from __future__ import annotations

# Entries of the N x M matrix from which on not building it pays; below, a fixed cost decides.
LARGE_MATRIX = 100_000
# The same for a pairwise function of one's own, which gains memory only, and no time.
LARGE_MATRIX_IN_BLOCKS = 2_000_000
# Multiplications that sorting and prefix sums must save to pay for themselves.
SORTING = 80_000_000


def fast_is_cheaper(
    *, positions: int, keys: int, channels: int, affinity: str = "own", device: str = "cpu"
) -> bool:
    """Whether the fast form costs less time than the reference form.

    It rests on the committed measurement (benchmarks/results/non_local_choice.json, forward and
    backward, one thread, widths 32 to 512); tests/layers/test_choice.py holds it against the
    numbers. On CUDA nothing was measured: fused attention is taken always there, and the limits
    of the others are those of the CPU.

    Args:
        positions: N, the number of query positions.
        keys: M, the number of key positions.
        channels: C, the inner width.
        affinity: ``name`` of the affinity; "own" for one that is not built in.
        device: type of the device.
    """
    pairs = positions * keys
    if affinity == "own":
        return pairs > LARGE_MATRIX_IN_BLOCKS
    if affinity == "dot_product":
        # θ (φᵀ g) against (θ φᵀ) g: fewer multiplications.
        return pairs > LARGE_MATRIX and 2 * pairs > (positions + keys) * channels
    if affinity == "concatenation":
        # The N x M x C product, and θ and W_z of all N positions (2C x C each), are saved.
        return positions * channels * (keys + 4 * channels) > SORTING
    return device == "cuda" or pairs > LARGE_MATRIX
