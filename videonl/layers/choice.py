"""The rule behind ``implementation="auto"``: which exact form is the cheaper one."""

from __future__ import annotations


def fast_is_cheaper(*, positions: int, keys: int, channels: int) -> bool:
    """Whether the fast form costs less than the reference form.

    Args:
        positions: N, the number of query positions.
        keys: M, the number of key positions.
        channels: inner width C.
    """
    return positions * keys > 4 * channels * channels
