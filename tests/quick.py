"""Which variants of a table run by default; the others are slow."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def quick(table: Iterable[Any], *chosen: Any, name: Callable[[Any], Any] = lambda one: one) -> Any:
    """The values of a parametrised test, of which only the chosen ones run by default.

    Args:
        table: all values; tuples are those of several arguments.
        chosen: those that tell most, by name; each must be there.
        name: of a value; itself unless said otherwise.
    """
    values = list(table)
    names = [name(value) for value in values]
    missing = [one for one in chosen if one not in names]
    assert not missing, f"not in the table: {missing}"
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            marks=[] if called in chosen else [pytest.mark.slow],
        )
        for called, value in zip(names, values, strict=True)
    ]
