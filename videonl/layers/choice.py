"""The rule behind ``implementation="auto"``: which exact form is the cheaper one."""

from __future__ import annotations

# Entries of the N x M matrix from which on not building it pays.
LARGE_MATRIX = 100_000


def fast_is_cheaper(*, positions: int, keys: int) -> bool:
    """Whether the fast form costs less time than the reference form.

    From the committed measurement (benchmarks/results/non_local_choice.json, forward + backward,
    one thread, widths 32 to 512): below this size the two forms are close, and the fast one may be
    the slower; above it the fast one is as quick or quicker, but for concatenation just above,
    which loses up to an eighth. tests/layers/test_choice.py holds the rule against the numbers.

    Args:
        positions: N, the number of query positions.
        keys: M, the number of key positions.
    """
    return positions * keys > LARGE_MATRIX
