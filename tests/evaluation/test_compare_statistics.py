import math
from itertools import product

import pytest

from videonl.evaluation import holm, mcnemar_exact, paired_bootstrap, quartiles, wilson_interval


def test_wilson_agrees_with_published_values() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    for correct, total, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = wilson_interval(correct, total)
        assert found == pytest.approx((low, high), abs=5e-5)


def test_wilson_stays_within_zero_and_one_and_is_symmetric() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    for total in (1, 7, 90):
        for correct in range(total + 1):
            low, high = wilson_interval(correct, total)
            assert 0 <= low <= correct / total <= high <= 1
            mirrored = wilson_interval(total - correct, total)
            assert mirrored == pytest.approx((1 - high, 1 - low))
    with pytest.raises(ValueError, match="total=3"):
        wilson_interval(4, 3)


def test_mcnemar_is_the_share_of_coin_throws_as_uneven() -> None:
    for b, c in [(0, 0), (3, 0), (5, 2), (4, 4), (1, 7)]:
        gap = abs(b - c)
        throws = list(product((0, 1), repeat=b + c))
        uneven = sum(abs(2 * sum(throw) - b - c) >= gap for throw in throws)
        assert mcnemar_exact(b, c) == pytest.approx(uneven / len(throws))
        assert mcnemar_exact(c, b) == mcnemar_exact(b, c)


def test_mcnemar_of_many_videos_does_not_overflow() -> None:
    assert mcnemar_exact(10_000, 10_000) == 1.0
    assert 0 < mcnemar_exact(5_300, 5_000) < 0.01
    with pytest.raises(ValueError, match="negative"):
        mcnemar_exact(-1, 2)


def test_holm_keeps_the_order_and_never_falls_below_the_raw_value() -> None:
    raw = [0.2, 0.001, 0.04, 0.04]
    adjusted = holm(raw)
    assert adjusted == pytest.approx([0.2, 0.004, 0.12, 0.12])
    assert all(a >= r for a, r in zip(adjusted, raw, strict=True))
    assert holm([]) == []


def test_bootstrap_of_equal_networks_finds_no_difference() -> None:
    right = [[True, False, True, True], [False, True, True, False]]
    assert paired_bootstrap(right, right) == (0.0, 0.0, 0.0)


def test_bootstrap_interval_has_the_width_of_the_binomial() -> None:
    # One training; the second always fails, so the mean is the first one's share of 400 videos.
    first = [[index % 4 > 0 for index in range(400)]]
    value, low, high = paired_bootstrap(first, [[False] * 400], resamples=4000)
    spread = math.sqrt(0.75 * 0.25 / 400)
    assert value == 0.75
    assert low == pytest.approx(0.75 - 1.96 * spread, abs=0.15 * spread)
    assert high == pytest.approx(0.75 + 1.96 * spread, abs=0.15 * spread)
    assert paired_bootstrap(first, [[False] * 400], resamples=4000) == (value, low, high)


def test_bootstrap_sees_the_spread_between_seeds() -> None:
    nothing = [[False] * 50] * 3
    alike = [[index < 25 for index in range(50)]] * 3
    apart = [[True] * 50, [False] * 50, [index < 25 for index in range(50)]]
    widths = []
    for first in (alike, apart):
        _, low, high = paired_bootstrap(first, nothing, resamples=2000)
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]
    with pytest.raises(ValueError, match=r"\[training\]\[video\]"):
        paired_bootstrap([[True]], [[True, False]])


def test_quartiles() -> None:
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)
    assert quartiles([1, 2, 3, 4]) == (1.75, 2.5, 3.25)
    with pytest.raises(ValueError, match="at least one"):
        quartiles([])
    assert not math.isnan(quartiles([0.0, 1e308])[1])
