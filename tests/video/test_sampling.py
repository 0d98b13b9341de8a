"""Properties of the index arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videonl.video import (
    ClipShape,
    random_clip,
    sample_generator,
    timeline,
    uniform_clips,
)

lengths = st.integers(1, 400)
shapes = st.builds(
    ClipShape,
    frames=st.integers(1, 32),
    stride=st.integers(1, 16),
    short_video=st.sampled_from(["loop", "pad"]),
)


def check(clip: list[int], length: int, shape: ClipShape) -> None:
    """The step is constant; after the end of a short video it starts again or stays."""
    assert len(clip) == shape.frames
    assert all(0 <= i < length for i in clip)
    steps = np.diff(clip)
    if length >= shape.span:
        assert (steps == shape.stride).all()
    elif shape.short_video == "loop":
        assert clip == [k * shape.stride % length for k in range(shape.frames)]
    else:
        assert clip == [min(k * shape.stride, length - 1) for k in range(shape.frames)]


@given(lengths, shapes, st.integers(0, 2**32))
def test_random_clip(length: int, shape: ClipShape, seed: int) -> None:
    check(random_clip(length, shape, np.random.default_rng(seed)), length, shape)


@given(lengths, shapes, st.integers(1, 12))
def test_uniform_clips(length: int, shape: ClipShape, clips: int) -> None:
    drawn = uniform_clips(length, shape, clips)
    assert len(drawn) == clips
    for clip in drawn:
        check(clip, length, shape)
    if length >= shape.span:
        starts = [clip[0] for clip in drawn]
        free = length - shape.span
        assert starts == sorted(starts)
        if clips == 1:
            assert starts == [free // 2]
        else:
            assert (starts[0], starts[-1]) == (0, free)
            gaps = np.diff(starts)
            assert gaps.max() - gaps.min() <= 1  # as even as whole numbers allow


def test_random_starts_are_uniform() -> None:
    shape = ClipShape(4, 2)
    generator = np.random.default_rng(0)
    starts = [random_clip(10, shape, generator)[0] for _ in range(4000)]
    counts = np.bincount(starts, minlength=4)
    assert len(counts) == 4  # 0, 1, 2, 3: the last clip ends with the last frame
    assert counts.min() > 900


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


def test_sampling_by_time_is_right_under_variable_rate() -> None:
    # 1 s at 30 frames per second, then 2 s at 5
    times = np.concatenate([np.arange(30) / 30, 1 + np.arange(10) / 5])
    clip = uniform_clips(40, ClipShape(3, 5, fps=5), 1, times=times)[0]
    seconds = times[clip]
    np.testing.assert_allclose(np.diff(seconds), 1.0, atol=0.21)  # frames there are 0.2 s apart
    by_frame = uniform_clips(40, ClipShape(5, 9), 1)[0]
    assert np.ptp(np.diff(times[by_frame])) > 0.5  # what counting frames would have done


def test_time_needs_times() -> None:
    with pytest.raises(ValueError, match="needs the times"):
        uniform_clips(10, ClipShape(2, 2, fps=5), 1)
    with pytest.raises(ValueError, match="times of all 10"):
        uniform_clips(10, ClipShape(2, 2, fps=5), 1, times=[0.0, 1.0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"frames": 0, "stride": 1}, "at least 1"),
        ({"frames": 1, "stride": 0}, "at least 1"),
        ({"frames": 1, "stride": 1, "fps": -1.0}, "fps"),
        ({"frames": 1, "stride": 1, "short_video": "mirror"}, "loop"),
    ],
)
def test_wrong_shapes(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ClipShape(**arguments)


def test_generator_depends_on_everything() -> None:
    base = (1, 2, 3, 4)
    first = sample_generator(*base).integers(2**60)
    assert sample_generator(*base).integers(2**60) == first
    for i in range(4):
        other = list(base)
        other[i] += 1
        assert sample_generator(*other).integers(2**60) != first
