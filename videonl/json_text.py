"""Standard JSON: NaN and infinity, which JSON does not have, become null."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

HALVES = re.compile(r"[\ud800-\udfff]")  # bytes of a file name that are no UTF-8


def json_text(value: Any, *, ascii: bool = False, **layout: Any) -> str:
    """A value as JSON.

    Args:
        value: primitives, lists, tuples and tables of them. A number that is not finite is
            undefined, and becomes ``null``.
        ascii: escape everything beyond ASCII; else only bytes of file names that are not UTF-8.
        layout: of ``json.dumps``: ``indent``, ``sort_keys``, ``default``.

    Example:
        >>> json_text({"mean": float("nan"), "name": "ü"})
        '{"mean": null, "name": "ü"}'
    """
    try:
        text = json.dumps(value, ensure_ascii=ascii, allow_nan=False, **layout)
    except ValueError:  # rare: the copy is made only then
        value = _defined(value)
        text = json.dumps(value, ensure_ascii=ascii, allow_nan=False, **layout)
    return HALVES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _defined(value: Any) -> Any:
    """The value with None for every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _defined(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_defined(item) for item in value]
    return value
