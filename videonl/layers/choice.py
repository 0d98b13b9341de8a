"""The rule behind ``implementation="auto"``: which exact form is the cheaper one."""

from __future__ import annotations

# Entries of the N x M matrix from which on not building it pays.
LARGE_MATRIX = 100_000


def fast_is_cheaper(*, positions: int, keys: int) -> bool:
    """Whether the fast form costs less time than the reference form.

    The committed measurement (benchmarks/results/non_local_choice.json, forward + backward, widths
    32 to 512) crosses over between 10 000 and 160 000 entries of the matrix for all four
    affinities; tests/layers/test_choice.py holds the rule against it.

    Args:
        positions: N, the number of query positions.
        keys: M, the number of key positions.
    """
    return positions * keys > LARGE_MATRIX
