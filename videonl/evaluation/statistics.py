"""Exact tests of two networks on the same videos, Student's distribution, quartiles."""

import math
from collections.abc import Sequence

import numpy as np


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """McNemar's exact test (two-sided): do two networks err equally often on the same videos?

    Only videos that one network gets right and the other wrong are counted. If both networks were
    equally good, each of these would be right for either with probability 1/2:

        p = min(1, 2 · Σ_{i ≤ min(b, c)} C(b + c, i) / 2^(b + c))

    Args:
        only_first: b, videos that only the first network gets right.
        only_second: c, videos that only the second one gets right.

    Returns:
        The p-value; 1 where the networks agree on every video.

    Raises:
        ValueError: a negative count.

    Example:
        >>> round(mcnemar_exact(12, 2), 6)
        0.012939
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"counts must not be negative, got {only_first} and {only_second}")
    trials, fewer = only_first + only_second, min(only_first, only_second)
    term = tail = 1  # C(trials, 0); whole numbers, so exact for any count
    for i in range(fewer):
        term = term * (trials - i) // (i + 1)  # C(trials, i + 1)
        tail += term
    return min(1.0, 2 * tail / 2**trials)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979) of p-values for having made several tests, in the order given.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction.

    Lentz's method on the fraction of DLMF 8.17.22.

    Args:
        a: above 0.
        b: above 0.
        x: 0 to 1.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction of the other side converges quickly
        return 1 - incomplete_beta(b, a, 1 - x)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(logarithm + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / (1 + term * d), 1 + term / c
            value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return front * value


def t_probability(t: float, freedom: float) -> float:
    """P(T <= t) of Student's distribution; the degrees of freedom need not be whole."""
    upper = incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2
    return 1 - upper if t > 0 else upper


def t_quantile(probability: float, freedom: float) -> float:
    """The t with P(T <= t) = ``probability``, by bisection.

    Example:
        >>> round(t_quantile(0.975, 2), 4)
        4.3027
    """
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < probability:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (
            (middle, high) if t_probability(middle, freedom) < probability else (low, middle)
        )
    return high


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """(first quartile, median, third quartile), interpolated linearly.

    Example:
        >>> quartiles([4, 1, 3, 2, 5])
        (2.0, 3.0, 4.0)
    """
    first, median, third = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return first, median, third
