"""Limits of arguments, declared beside the signature; a wrong value is one sentence.

A function or class lists its limits above its signature, and a command-line option takes one as its
type::

    @limited(batch_size=whole(1), flip=number(0, 1))
    def __init__(self, root: str, *, batch_size: int = 8, flip: float = 0.5) -> None: ...

    parser.add_argument("--port", type=whole(0, 65535))
"""

import argparse
import functools
import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Protocol, TypeVar

from videonl.errors import VideoNLError

Function = TypeVar("Function", bound=Callable[..., Any])


class Rule(Protocol):
    """What a value may be; ``str`` gives it in words."""

    def allows(self, value: Any) -> bool:
        """Whether a value is right, whatever it is."""


@dataclass(frozen=True)
class Limit:
    """One number, or ``length`` of them, within a range.

    Args:
        low: the smallest value, itself excluded if ``above``.
        high: the largest.
        integral: integers only.
        above: whether ``low`` is excluded.
        length: None: a single number; n: a list of n; -1: a list of any length.
        rising: whether a list must be in ascending order.
    """

    low: float
    high: float = math.inf
    integral: bool = False
    above: bool = False
    length: int | None = None
    rising: bool = False

    def __str__(self) -> str:
        one = "a whole number" if self.integral else "a number"
        low, high = f"{self.low:.12g}", f"{self.high:.12g}"
        reach = f"above {low}" if self.above else f"of at least {low}"
        if math.isfinite(self.high):
            reach = f"{reach} and at most {high}" if self.above else f"from {low} to {high}"
        if self.length is None:
            return f"{one} {reach}"
        many = "ascending numbers" if self.rising else "numbers"
        many = many.replace("numbers", "whole numbers") if self.integral else many
        return f"a list of {f'{self.length} ' if self.length > 0 else ''}{many}, each {reach}"

    def allows(self, value: Any) -> bool:
        """Whether a value has that type, is finite and in range."""
        if self.length is not None:
            if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
                return False
            fits = self.length < 0 or len(value) == self.length
            fits = fits and all(map(self._allows_one, value))
            return fits and (not self.rising or list(value) == sorted(value))
        return self._allows_one(value)

    def _allows_one(self, value: Any) -> bool:
        kind = Integral if self.integral else Real
        if isinstance(value, bool) or not isinstance(value, kind):
            return False
        try:
            if not math.isfinite(value):
                return False
        except OverflowError:  # a whole number beyond every float
            return False
        exact: Any = value
        return self.low <= exact <= self.high and not (self.above and exact == self.low)

    def __call__(self, text: str) -> Any:
        """Parse a word of a command line.

        Raises:
            ArgumentTypeError: no such number, or out of range.
        """
        try:
            value: float = int(text) if self.integral else float(text)
        except ValueError:
            value = math.nan
        if not self.allows(value):
            raise argparse.ArgumentTypeError(f"{text!r}: it must be {self}")
        return value


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"

    def allows(self, value: Any) -> bool:
        """Whether it is one of them."""
        return isinstance(value, str) and value in self.words


@dataclass(frozen=True)
class Said:
    """A rule described in words, with a function that checks it."""

    words: str
    right: Callable[[Any], bool]

    def __str__(self) -> str:
        return self.words

    def allows(self, value: Any) -> bool:
        """Whether a value keeps it."""
        return self.right(value)


def optional(rule: Rule) -> Said:
    """A value that keeps a rule, or none at all."""
    return Said(f"{rule}, or none", lambda value: value is None or rule.allows(value))


def one_of(*words: str) -> Choice:
    """One of these words."""
    return Choice(words)


def whole(low: int, high: float = math.inf) -> Limit:
    """A whole number.

    Example:
        >>> print(whole(1)); print(whole(0, 65535))
        a whole number of at least 1
        a whole number from 0 to 65535
    """
    return Limit(low, high, integral=True)


def number(low: float, high: float = math.inf) -> Limit:
    """A finite number."""
    return Limit(low, high)


def above(low: float, high: float = math.inf) -> Limit:
    """A finite number that is larger than ``low``."""
    return Limit(low, high, above=True)


MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
SEED = whole(0, 2**32 - 1)  # what numpy takes
MOST_CLIPS = 1000  # of a test of one video


def usable_cores() -> int:
    """Processor cores that this process may use: a container may have fewer than its machine."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return allowed or 1


def total_memory() -> int:
    """Bytes of memory of this machine, or of the container."""
    found = [2**63]
    with suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in MEMORY_LIMITS:
        with suppress(OSError, ValueError):
            found.append(int(Path(file).read_text(encoding="ascii")))
    return min(found)


def limited(**limits: Rule) -> Callable[[Function], Function]:
    """Check the arguments of a function; one whose default is None may be None.

    Args:
        limits: argument name -> its rule.

    Raises:
        VideoNLError: when the function is called; names the argument, its value and the rule.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        optional = {name for name, p in signature.parameters.items() if p.default is None}
        missing = set(limits) - set(signature.parameters)
        assert not missing, f"{function.__qualname__} has no {missing}"

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind_partial(*args, **kwargs).arguments
            check_limits(
                limits, {k: v for k, v in given.items() if not (v is None and k in optional)}
            )
            return function(*args, **kwargs)

        return checked  # type: ignore[return-value]

    return decorate


def check_limits(limits: Mapping[str, Rule], values: Mapping[str, Any]) -> None:
    """Check the values that have a limit.

    Raises:
        VideoNLError: names the argument, what came and what is allowed.
    """
    for name, limit in limits.items():
        if name in values and not limit.allows(values[name]):
            given = repr(values[name])
            given = given if len(given) <= 80 else given[:80] + "..."
            raise VideoNLError(f"{name}={given}: it must be {limit}")


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
