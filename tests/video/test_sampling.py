"""The clock of sampling by time, and the randomness of a sample."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from videonl.video import sample_generator, timeline


@given(st.integers(1, 300), st.sampled_from([10, 15, 24, 25, 30, 50, 60]))
def test_timeline_at_the_own_rate_is_every_frame(length: int, fps: int) -> None:
    for times in (np.arange(length) / fps, np.round(np.arange(length) / fps, 3)):
        assert timeline(times, fps).tolist() == list(range(length))


def test_timeline_of_other_rates() -> None:
    times = np.arange(60) / 30
    assert timeline(times, 15).tolist() == list(range(0, 60, 2))
    assert timeline(times, 60).tolist() == [i // 2 for i in range(120)]
    # NTSC: 29.97 at 30 repeats a frame a thousand, no sooner
    ntsc = timeline(np.arange(900) * 1001 / 30000, 30)
    assert len(ntsc) == 901
    assert set(np.diff(ntsc)) == {0, 1}


@given(st.lists(st.floats(0.01, 0.6), min_size=1, max_size=80), st.sampled_from([5, 12.5, 30]))
def test_timeline_shows_what_is_on_display(gaps: list[float], fps: float) -> None:
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    shown = timeline(times, fps)
    for tick, frame in enumerate(shown):
        moment = tick / fps
        assert times[frame] <= moment + 2e-3
        assert frame == len(times) - 1 or times[frame + 1] > moment


def test_generator_depends_on_everything() -> None:
    base = (1, 2, 3, 4)
    first = sample_generator(*base).integers(2**60)
    assert sample_generator(*base).integers(2**60) == first
    for i in range(4):
        other = list(base)
        other[i] += 1
        assert sample_generator(*other).integers(2**60) != first
