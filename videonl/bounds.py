"""Rules for values that others chose: whether one is right, and what is wanted, in words."""

from collections.abc import Callable
from typing import Any

Rule = tuple[Callable[[Any], bool], str]  # (whether a value is right, what is wanted)


def whole(low: int, high: int) -> Rule:
    """An integer within bounds."""
    return lambda v: type(v) is int and low <= v <= high, f"an integer from {low} to {high}"


def number(value: Any, low: float, high: float) -> bool:
    """Whether a value is a finite number within bounds; the lower one is outside."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and low < value <= high  # NaN is not


def numbers(count: int, low: float, high: float) -> Rule:
    """So many numbers, such as one per colour; the lower bound is outside."""

    def right(value: Any) -> bool:
        listed = isinstance(value, (list, tuple)) and len(value) == count
        return listed and all(number(each, low, high) for each in value)

    return right, f"{count} numbers above {low:g}, at most {high:g}"


def sizes(low: int, high: int) -> Rule:
    """A few integers within bounds, such as a kernel."""

    def right(value: Any) -> bool:
        listed = isinstance(value, (list, tuple)) and 1 <= len(value) <= 4
        return listed and all(type(each) is int and low <= each <= high for each in value)

    return right, f"1 to 4 integers from {low} to {high}"


def one_of(*choices: str) -> Rule:
    """A word out of a few."""
    return lambda v: isinstance(v, str) and v in choices, " or ".join(map(repr, choices))


def optional(rule: Rule) -> Rule:
    """A value that keeps a rule, or none at all."""
    return lambda v: v is None or rule[0](v), f"{rule[1]}, or none"


def shown(value: Any) -> str:
    """A value in at most 80 characters, whatever its size."""
    if isinstance(value, str):
        return value[:77] + "..." if len(value) > 80 else value
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (list, tuple)):
        first = [shown(each)[:20] for each in value[:4] if not isinstance(each, (list, tuple))]
        return f"[{', '.join(first)}{', ...' if len(first) < len(value) else ''}]"
    if value is None or isinstance(value, (int, float)):
        return str(value)
    return f"a {type(value).__name__}"
