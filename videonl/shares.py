"""How figures are written: accuracies with their confidence interval, and counts of things.

Training, tests, comparisons and pages all use these, so that they agree.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Z_95 = 1.959963984540054  # two-sided 95 % point of the normal distribution


def wilson_interval(correct: int, total: int, *, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), two-sided 95 % by default.

    Unlike ``p ± z · sqrt(p (1 − p) / n)`` it stays within [0, 1] and is right near 0 and 1, where
    small test sets end up:

        (p + z²/2n ± z · sqrt(p (1 − p)/n + z²/4n²)) / (1 + z²/n)

    Args:
        correct: successes.
        total: trials.
        z: quantile of the normal distribution.

    Returns:
        (low, high); (0, 1) without trials.

    Raises:
        ValueError: not 0 <= correct <= total.

    Example:
        >>> low, high = wilson_interval(90, 100)
        >>> f"{low:.4f} {high:.4f}"
        '0.8256 0.9448'
    """
    if not 0 <= correct <= total:
        raise ValueError(f"correct must lie between 0 and total={total}, got {correct}")
    if total == 0:
        return 0.0, 1.0
    share, square = correct / total, z * z
    middle = share + square / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    scale = 1 + square / total
    low = (middle - spread) / scale if correct else 0.0  # exact, without the rounding
    high = (middle + spread) / scale if correct < total else 1.0
    return low, high


def wilson_of(share: float, total: int) -> tuple[float, float]:
    """Wilson's interval of a share of ``total`` videos."""
    return wilson_interval(round(share * total), total)


@dataclass(frozen=True)
class Score:
    """Right answers out of all, with Wilson's 95 % interval.

    Attributes:
        correct: videos that were classified right.
        total: videos.
    """

    correct: int
    total: int

    @property
    def value(self) -> float | None:
        """The share of right answers, 0 to 1; None of no videos."""
        return self.correct / self.total if self.total else None

    def as_dict(self) -> dict[str, Any]:
        """Primitives, for JSON."""
        return {
            "correct": self.correct,
            "total": self.total,
            "value": self.value,
            "wilson95": list(wilson_interval(self.correct, self.total)),
        }


def decimals(total: int) -> int:
    """Decimals that a percentage of ``total`` videos supports: one video is ``100 / total``.

    Example:
        >>> [decimals(total) for total in (24, 100, 210, 20_000)]
        [0, 0, 1, 2]
    """
    return min(2, max(0, math.ceil(math.log10(max(total, 1) / 100))))


TENTHS = 1000  # so finely a probability is written, and what else is no share of videos


def percent(share: float, total: int = TENTHS, *, deviation: float | None = None) -> str:
    """A share in per cent; nothing else writes one, but ``server.js``, which must say the same.

    Args:
        share: 0 to 1.
        total: of so many videos, whose digits it gets; else it is written to a tenth.
        deviation: of the share, which is written beside it.

    Example:
        >>> percent(0.625, 24), percent(0.625, 600), percent(0.625)
        ('62 %', '62.5 %', '62.5 %')
        >>> percent(0.625, 24, deviation=0.02)
        '62 ± 2 %'
    """
    digits = decimals(total)
    spread = "" if deviation is None else f" ± {100 * deviation:.{digits}f}"
    return f"{100 * share:.{digits}f}{spread} %"


def interval_text(low: float, high: float, total: int) -> str:
    """An interval of shares in per cent: ``"[43, 79]"``."""
    digits = decimals(total)
    ends = (round(100 * end, digits) + 0.0 for end in (low, high))  # never -0
    return f"[{', '.join(f'{end:.{digits}f}' for end in ends)}]"


def points(share: float, total: int, *, sign: bool = True) -> str:
    """A difference in percentage points, with the digits of ``total`` videos; never ``-0``."""
    digits = decimals(total)
    value = round(100 * share, digits) + 0.0
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def accuracy(share: float, total: int) -> str:
    """A share of ``total`` videos that were right, with Wilson's 95 % interval.

    Example:
        >>> accuracy(15 / 24, 24)
        '62 % [43, 79]'
    """
    low, high = wilson_of(share, total)
    return f"{percent(share, total)} {interval_text(low, high, total)}"


def paired_interval(
    only_first: int, only_second: int, total: int, *, z: float = Z_95
) -> tuple[float, float]:
    """The interval of a difference of two shares of the same videos (Bonett & Price 2012).

    With b videos that only the first gets right, c that only the second does, and one pseudo-video
    of each kind, p = (b + 1)/(n + 2) and q = (c + 1)/(n + 2):

        p − q ± z · sqrt((p + q − (p − q)²) / (n + 2))

    It is the adjusted Wald interval, which keeps a width where all answers agree.

    Args:
        only_first: b.
        only_second: c.
        total: n, all videos that both answered.
        z: quantile of the normal distribution.

    Raises:
        ValueError: counts that are no part of ``total``.

    Example:
        >>> low, high = paired_interval(12, 2, 100)
        >>> f"{low:.3f} {high:.3f}"
        '0.024 0.173'
    """
    if min(only_first, only_second) < 0 or only_first + only_second > total:
        raise ValueError(
            f"only_first={only_first} and only_second={only_second} must not be negative, and "
            f"together at most total={total}"
        )
    p, q = (only_first + 1) / (total + 2), (only_second + 1) / (total + 2)
    half = z * math.sqrt((p + q - (p - q) ** 2) / (total + 2))
    return max(-1.0, p - q - half), min(1.0, p - q + half)


def counted(number: int, thing: str) -> str:
    """A number of things, in the singular or in the plural.

    Example:
        >>> counted(1, "class"), counted(2, "class"), counted(0, "epoch"), counted(3, "entry")
        ('1 class', '2 classes', '0 epochs', '3 entries')
    """
    if number == 1:
        return f"1 {thing}"
    if re.search(r"[^aeiou]y$", thing):
        return f"{number} {thing[:-1]}ies"
    return f"{number} {thing}{'es' if re.search('(s|x|sh|tch)$', thing) else 's'}"


def few(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are.

    Example:
        >>> few(["a", "b", "c"], 2), few(["a"], 2)
        ('a, b and 1 more', 'a')
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
