import math
from functools import cache
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest

from videonl.evaluation import (
    accuracy_interval,
    crossed_estimate,
    holm,
    mcnemar_exact,
    quartiles,
    t_quantile,
)
from videonl.shares import accuracy, decimals, wilson_interval


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


def test_digits_fit_the_number_of_videos() -> None:
    assert [decimals(total) for total in (0, 1, 100, 101, 1000, 1001, 20_000)] == [
        0, 0, 0, 1, 1, 2, 2
    ]  # fmt: skip
    assert accuracy(5 / 8, 8) == "62 % [31, 86]"
    assert accuracy(0.5, 400) == "50.0 % [45.1, 54.9]"


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


def test_student_s_quantiles_agree_with_printed_tables() -> None:
    for probability, freedom, value in [
        (0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 9, 2.2622), (0.8, 3, 0.9785),
        (0.995, 5, 4.0321), (0.975, 1e7, 1.95996),
    ]:  # fmt: skip
        assert t_quantile(probability, freedom) == pytest.approx(value, abs=6e-5)
        assert t_quantile(1 - probability, freedom) == pytest.approx(-value, abs=6e-5)


def test_equal_networks_do_not_differ_and_few_videos_do_not_prove_it() -> None:
    for trainings in (1, 3):
        found = crossed_estimate([[0.0] * 10] * trainings)
        assert (found.value, found.p_value) == (0, 1)
        assert found.low == -found.high < -0.1


def test_one_training_has_the_interval_of_its_videos() -> None:
    # Bonett & Price (2012): the counts plus one each, as if of n + 2 videos.
    values = [1.0] * 30 + [-1.0] * 10 + [0.0] * 360
    found = crossed_estimate([values])
    first, second, total = 31 / 402, 11 / 402, 402
    error = math.sqrt((first + second - (first - second) ** 2) / total)
    assert found.low == pytest.approx(first - second - 1.96 * error, abs=3e-4)
    assert found.high == pytest.approx(first - second + 1.96 * error, abs=3e-4)
    assert found.value == pytest.approx(0.05)
    assert found.trainings_for(0.01) is None, "one training knows nothing of others"
    low, high = accuracy_interval([[float(i % 10 > 0) for i in range(400)]])
    assert (low, high) == pytest.approx(wilson_interval(360, 400), abs=2e-3)


def test_the_spread_between_seeds_widens_the_interval() -> None:
    middle = [float(index < 25) for index in range(50)]
    alike, apart = [middle] * 3, [[1.0] * 50, [0.0] * 50, middle]
    widths = [found.high - found.low for found in map(crossed_estimate, (alike, apart))]
    assert widths[1] > 2 * widths[0]
    with pytest.raises(ValueError, match=r"\[training\]\[video\]"):
        crossed_estimate([])


def test_videos_of_one_group_count_as_one() -> None:
    values = [[float(index // 20 % 2) for index in range(200)]] * 3
    alone, grouped = (
        crossed_estimate(values, groups=groups)
        for groups in (None, [str(index // 20) for index in range(200)])
    )
    assert alone.value == grouped.value == 0.5
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)
    single = crossed_estimate(values, groups=[str(index) for index in range(200)])
    assert (single.low, single.high) == pytest.approx((alone.low, alone.high), abs=1e-3)


def test_what_would_show_half_of_what_could_be_seen() -> None:
    generator = np.random.default_rng(0)
    base = generator.random((4, 1)) * 0.1 + 0.5
    values = (generator.random((4, 200)) < base).astype(float) - 0.5
    found = crossed_estimate(values.tolist())
    seen = found.detectable()
    seeds = found.trainings_for(seen / 2)
    assert seeds is not None
    assert found.detectable(trainings=seeds) <= seen / 2 < found.detectable(trainings=seeds - 1)
    videos = crossed_estimate(values[:1].tolist())
    more = videos.videos_for(videos.detectable() / 2)
    assert more == pytest.approx(4 * 202, rel=0.05)  # one training: the square of the ratio
    both = found.both_for(seen / 2)
    assert both is not None
    assert both[0] > 200
    assert 4 < both[1] <= seeds


def coverage(
    trainings: int, *, spread: float, videos: int = 200, groups: int = 0, runs: int = 1000
) -> float:
    """How often the interval holds the truth, of trainings that scatter by ``spread``."""
    generator, hits = np.random.default_rng(trainings), 0
    for _ in range(runs):
        shares = 0.55 + spread * generator.standard_normal((trainings, 1))
        ease = 0.25 * generator.standard_normal(groups or videos)  # of a video, or of its group
        per_video = np.repeat(ease, videos // len(ease))
        noise = 0.5 * generator.random((2, trainings, videos))
        first = noise[0] < shares - 0.3 + per_video
        second = noise[1] < 0.25 + per_video * 0.2
        # Videos that are always or never right: the truth is taken from many of them.
        found = crossed_estimate(
            (first.astype(float) - second).tolist(),
            groups=[str(i * len(ease) // videos) for i in range(videos)] if groups else None,
        )
        hits += found.low <= truth_of(spread) <= found.high
    return hits / runs


@cache
def truth_of(spread: float) -> float:
    """The mean difference of ``coverage``'s model, by integration over seeds and videos."""
    grid = np.array([NormalDist().inv_cdf((i + 0.5) / 4000) for i in range(4000)])
    shares = 0.25 + math.hypot(spread, 0.25) * grid  # two normal variables make one
    first = np.clip(shares / 0.5, 0, 1).mean()
    return float(first - np.clip((0.25 + 0.05 * grid) / 0.5, 0, 1).mean())


def test_three_trainings_that_scatter_are_covered() -> None:
    assert 0.93 <= coverage(3, spread=0.05, runs=400) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("trainings", [2, 3, 4, 5, 7, 10])
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("groups", [0, 20])
def test_the_interval_covers(trainings: int, spread: float, groups: int) -> None:
    least = 0.9 if trainings == 2 else 0.93  # two seeds may fall together by chance
    assert coverage(trainings, spread=spread, groups=groups) >= least


def test_quartiles() -> None:
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)
    assert quartiles([1, 2, 3, 4]) == (1.75, 2.5, 3.25)
    assert not math.isnan(quartiles([0.0, 1e308])[1])
