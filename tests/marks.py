"""Tables of cases that go through one mechanism: the most telling run, the rest is slow."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def mostly_slow(cases: Iterable[Any], *, quick: Collection[Any]) -> list[Any]:
    """The cases of ``parametrize``; those that are not among ``quick`` are slow.

    Args:
        cases: a tuple for several arguments, else the value of the one.
        quick: the cases, or their first values.
    """
    listed, marked = list(cases), []
    for case in listed:
        values = case if isinstance(case, tuple) else (case,)
        run = case in quick or values[0] in quick
        marked.append(case if run else pytest.param(*values, marks=pytest.mark.slow))
    missing = [name for name in quick if not any(name in (c, *_first(c)) for c in listed)]
    assert not missing, f"no such case: {missing}"
    return marked


def _first(case: Any) -> tuple[Any, ...]:
    return case[:1] if isinstance(case, tuple) else ()
