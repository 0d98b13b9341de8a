"""How sure a measured accuracy is, and whether two networks differ on the same videos."""

import math
from collections.abc import Sequence

import numpy as np

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


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """McNemar's exact test (two-sided): do two networks err equally often on the same videos?

    Only the videos count that one network gets right and the other wrong. If both were equally
    good, each of those would fall to either side like a fair coin:

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


def paired_bootstrap(
    first: Sequence[Sequence[bool]],
    second: Sequence[Sequence[bool]],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """By how much one network's accuracy exceeds another's, over several trainings of each.

    Training k of both had the same seed and data order, and both answered the same videos. Pairs
    of trainings and videos are drawn anew, with replacement; the interval holds the middle 95 %
    of the mean differences (percentile bootstrap over seeds and videos).

    Args:
        first: [training][video], whether the first network was right.
        second: the same of the second.
        resamples: how many draws.
        seed: of the draws.

    Returns:
        (difference, low, high).

    Raises:
        ValueError: the shapes differ, or there is nothing to draw from.
    """
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != two.shape or one.ndim != 2 or one.size == 0:
        raise ValueError(f"both must be [training][video], got {one.shape} and {two.shape}")
    difference = one - two  # (S, V)
    trainings, videos = difference.shape
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for draw in range(resamples):
        seeds = np.bincount(generator.integers(trainings, size=trainings), minlength=trainings)
        chosen = np.bincount(generator.integers(videos, size=videos), minlength=videos)
        means[draw] = seeds @ difference @ chosen / difference.size
    low, high = np.quantile(means, (0.025, 0.975))
    return float(difference.mean()), float(low), float(high)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """(first quartile, median, third quartile), interpolated linearly.

    Raises:
        ValueError: no values.

    Example:
        >>> quartiles([4, 1, 3, 2, 5])
        (2.0, 3.0, 4.0)
    """
    if not values:
        raise ValueError("quartiles need at least one value")
    ordered = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])

    return at(0.25), at(0.5), at(0.75)
