"""The one value that decides which pixels reach a network: entries, frames, crops."""

import json
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.marks import mostly_slow
from videonl.errors import VideoNLError
from videonl.video import Preprocessing, crop, rectangle_of

BASE: dict[str, Any] = {"frames": 8, "stride": 8, "short_side": 256, "crop": 224}
SHAPES = ((8, 8), (32, 2), (4, 16))
lengths = st.integers(1, 400)
values = st.builds(
    Preprocessing,
    frames=st.integers(1, 32),
    stride=st.integers(1, 16),
    short_side=st.just(32),
    crop=st.just(32),
    short_video=st.sampled_from(["loop", "pad"]),
    views=st.tuples(st.integers(1, 12), st.sampled_from([1, 3])),
)


def shape(frames: int, stride: int, **entries: Any) -> Preprocessing:
    return Preprocessing.from_dict({**BASE, "frames": frames, "stride": stride, **entries})


def check(clip: list[int], length: int, value: Preprocessing) -> None:
    """The step is constant; after the end of a short video it starts again or stays."""
    assert len(clip) == value.frames
    assert all(0 <= i < length for i in clip)
    if length >= value.clip_length:
        assert (np.diff(clip) == value.stride).all()
    elif value.short_video == "loop":
        assert clip == [k * value.stride % length for k in range(value.frames)]
    else:
        assert clip == [min(k * value.stride, length - 1) for k in range(value.frames)]


@given(lengths, values, st.integers(0, 2**32))
def test_random_clip(length: int, value: Preprocessing, seed: int) -> None:
    check(value.random_indices(length, np.random.default_rng(seed)), length, value)


@given(lengths, values)
def test_clips_of_a_test(length: int, value: Preprocessing) -> None:
    drawn = value.indices(length)
    assert len(drawn) == value.views[0]
    for clip in drawn:
        check(clip, length, value)
    if length >= value.clip_length:
        starts = [clip[0] for clip in drawn]
        free = length - value.clip_length
        assert starts == sorted(starts)
        if len(drawn) == 1:
            assert starts == [free // 2]
        else:
            assert (starts[0], starts[-1]) == (0, free)
            gaps = np.diff(starts)
            assert gaps.max() - gaps.min() <= 1  # as even as whole numbers allow


@pytest.mark.parametrize(("frames", "stride"), mostly_slow(SHAPES, quick=[(8, 8)]))
def test_every_length_against_the_formulas(frames: int, stride: int) -> None:
    """PySlowFast's and PyTorchVideo's places and span, the released code's, and ours."""
    even = shape(frames, stride, places="free", span="even", short_video="pad")
    released = shape(frames, stride, places="length")
    ours = shape(frames, stride)
    covered = frames * stride
    for length in range(1, 401):
        free = max(length - covered, 0)
        for i, clip in enumerate(even.indices(length)):
            start = Fraction(free * i, 10)
            step = Fraction(covered - 1, frames - 1)
            want = [min(int(start + k * step), length - 1) for k in range(frames)]
            assert clip == want, (length, i)
        for i, clip in enumerate(released.indices(length)):
            want = [(i * length // 10 + k * stride) % length for k in range(frames)]
            assert clip == want, (length, i)
        for i, clip in enumerate(ours.indices(length)):
            room = max(length - (frames - 1) * stride - 1, 0)
            start = int(Fraction(i * room, 9) + Fraction(1, 2))
            assert clip == [(start + k * stride) % length for k in range(frames)], (length, i)


def test_figures_of_the_publishers() -> None:
    even = shape(8, 8, places="free", span="even", short_video="pad")
    firsts = [clip[0] for clip in even.indices(300)]
    assert firsts == [0, 23, 47, 70, 94, 118, 141, 165, 188, 212]
    assert even.indices(40)[0] == [0, 9, 18, 27, 36, 39, 39, 39]


def test_random_starts_are_uniform() -> None:
    generator = np.random.default_rng(0)
    starts = [shape(4, 2).random_indices(10, generator)[0] for _ in range(4000)]
    counts = np.bincount(starts, minlength=4)
    assert len(counts) == 4  # 0, 1, 2, 3: the last clip ends with the last frame
    assert counts.min() > 900


def test_sampling_by_time_is_right_under_variable_rate() -> None:
    # 1 s at 30 frames per second, then 2 s at 5
    times = np.concatenate([np.arange(30) / 30, 1 + np.arange(10) / 5])
    clip = shape(3, 5, fps=5, views=(1, 1)).indices(40, times=times)[0]
    np.testing.assert_allclose(np.diff(times[clip]), 1.0, atol=0.21)  # frames are 0.2 s apart
    by_frame = shape(5, 9, views=(1, 1)).indices(40)[0]
    assert np.ptp(np.diff(times[by_frame])) > 0.5  # what counting frames would have done


def test_time_needs_times() -> None:
    by_time = shape(2, 2, fps=5)
    with pytest.raises(ValueError, match="needs the times"):
        by_time.indices(10)
    with pytest.raises(ValueError, match=r"times of all frames .10."):
        by_time.indices(10, times=[0.0, 1.0])


def test_a_clip_from_a_second_on() -> None:
    times = np.arange(100) / 25
    assert shape(4, 2).indices_from(1.0, times=times, end=4.0) == [25, 27, 29, 31]
    assert shape(4, 2).indices_from(3.99, times=times, end=4.0) == [93, 95, 97, 99]
    by_time = shape(4, 2, fps=12.5)
    assert by_time.indices_from(1.0, times=times, end=4.0)[0] == 24


def test_a_clip_beside_the_grid_of_a_test_is_whole() -> None:
    value = shape(8, 8, places="grid", short_video="pad", views=[1, 1])
    times = np.arange(60) / 25
    assert value.indices(60) == [list(range(0, 60, 8))]
    assert value.indices_from(9.0, times=times, end=60 / 25) == list(range(3, 60, 8))
    drawn = np.array([value.random_indices(60, np.random.default_rng(n)) for n in range(20)])
    assert (np.diff(drawn) == 8).all()
    assert np.ptp(drawn[:, 0]) > 0
    assert value.indices_from(0.0, times=times[:30], end=1.2) == [0, 8, 16, 24, 24, 24, 24, 24]


@pytest.mark.parametrize("size", [(6, 11), (11, 6), (7, 12), (6, 6)])
def test_boxes(size: tuple[int, int]) -> None:
    value = Preprocessing(1, 1, short_side=6, crop=4)
    frames = torch.arange(size[0] * size[1]).reshape(1, *size, 1)
    (centre,) = value.with_views((1, 1)).boxes(*size)
    assert centre == ((size[0] - 4) // 2, (size[1] - 4) // 2, 4, 4)
    boxes = value.boxes(*size)
    one, two, three = (crop(frames, *box) for box in boxes)
    assert one.shape == two.shape == three.shape == (1, 6, 6, 1)
    long, other = (1, 2) if size[0] > size[1] else (2, 1)
    middle = frames.narrow(other, (frames.shape[other] - 6) // 2, 6)
    assert torch.equal(one, middle.narrow(long, 0, 6))
    assert torch.equal(three, middle.narrow(long, frames.shape[long] - 6, 6))
    assert boxes[1] == ((size[0] - 6) // 2, (size[1] - 6) // 2, 6, 6)
    small = value.changed(test_crop=4)
    assert (small.view_shape, value.view_shape) == ((1, 4, 4), (1, 6, 6))
    assert {box[2:] for box in small.boxes(*size)} == {(4, 4)}
    with pytest.raises(VideoNLError, match="6x6 does not fit into 5x9 pictures"):
        value.boxes(5, 9)


def test_it_is_written_as_it_was_read() -> None:
    plain = {**BASE, "mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]}
    assert Preprocessing.from_dict(plain).to_dict() == plain  # as files of before have it
    more = {
        **plain, "fps": 15.0, "short_video": "pad", "views": [3, 1], "test_crop": 224,
        "places": "free", "span": "even", "average": "max",
    }  # fmt: skip
    value = Preprocessing.from_dict(json.loads(json.dumps(more)))
    assert value.to_dict() == more
    assert Preprocessing.from_dict(value.to_dict()) == value == Preprocessing.from_dict(value)
    assert {**value} == {name: value[name] for name in value.keys()}  # noqa: SIM118
    old = {**plain, "fps": None, "short_video": "loop"}
    assert Preprocessing.from_dict(old) == Preprocessing.from_dict(plain)


def test_a_checkpoint_s_own_test_is_not_its_network_s() -> None:
    """What is as usual is not written, and does not come back as another network's."""
    published = {**BASE, "mean": [0.4] * 3, "std": [0.2] * 3, "places": "length", "rate": 30.0}
    own = Preprocessing(4, 2, 36, 32, views=(1, 1), test_crop=32)
    found = Preprocessing.completed(own.to_dict(), published)
    assert found == own.with_colours(Preprocessing.from_dict(published))
    assert found.places == "ends"
    assert Preprocessing.completed({"frames": 4}, published).stride == 8


def test_its_protocol_says_views_and_size() -> None:
    found = Preprocessing.from_dict(BASE).protocol()
    assert (found["views"], found["clips"], found["crops"]) == ("10x3", 10, 3)
    assert (found["view_side"], found["frames"]) == (256, 8)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"frames": 0}, "frames is 0; it must be a whole number from 1 to 4096"),
        ({"stride": 1.5}, "stride is 1.5; it must be a whole number"),
        ({"frames": True}, "frames is True"),
        ({"short_side": 10**300}, "short_side is an integer of"),
        ({"fps": -1.0}, "fps is -1.0; it must be a number above 0"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"mean": [0.5]}, "mean is .0.5.; it must be a list of 3 numbers"),
        (
            {"std": [0.1, 0.1, 0.0]},
            "std is .0.1, 0.1, 0.0.; it must be a list of 3 numbers, each above 0",
        ),
        ({"short_video": "mirror"}, "short_video is mirror; it must be one of loop, pad"),
        ({"views": [10, 2]}, "views is .10, 2.; it must be 1 to 1000 clips and 1 or 3 crops"),
        ({"views": [1001, 1]}, "1 to 1000 clips"),
        ({"views": [1000, 3], "frames": 64}, "1000x3 views of 64 frames of 256², .* at most"),
        ({"views": [0, 1]}, "views is .0, 1."),
        ({"views": "10x3"}, "views is 10x3"),
        ({"test_crop": 257}, "test_crop=257 is larger than short_side=256"),
        ({"crop": 300}, "crop=300 is larger than short_side=256"),
        ({"places": "random"}, "places is random; it must be one of ends, free, length"),
        ({"span": "odd"}, "span is odd"),
        (
            {"average": "median"},
            "average is median; it must be one of mean, max, logits, or none",
        ),
        ({"colour": 1}, "preprocessing has no entry 'colour'; its entries are frames, stride"),
        ({"frames": 4096}, "4096 frames of 256², 268435456 pixels"),
    ],
)
def test_a_wrong_entry_is_one_sentence(entries: dict[str, Any], words: str) -> None:
    with pytest.raises(VideoNLError, match=words) as caught:
        Preprocessing.from_dict({**BASE, **entries})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_what_is_missing_is_named() -> None:
    with pytest.raises(VideoNLError, match="lacks the entry stride"):
        Preprocessing.from_dict({"frames": 8})
    with pytest.raises(VideoNLError, match="lacks mean and std"):
        _ = Preprocessing.from_dict(BASE).colours


def test_segments_for_every_length() -> None:
    """A frame of each equal segment: the middle, view i of n at (2i + 1) / 2n, or a random one."""
    for frames in (1, 4, 8):
        value = shape(frames, 8, sampling="segments", fps=12.5, views=(1, 1))
        three = value.changed(views=(3, 1))
        drawn = np.random.default_rng(0)
        for length in range(1, 401):
            begins = [Fraction(k * length, frames) for k in range(frames + 1)]
            pairs = list(pairwise(begins))
            assert value.indices(length) == [[int((a + b) / 2) for a, b in pairs]]
            views = [
                [int(a + (b - a) * Fraction(2 * i + 1, 6)) for a, b in pairs] for i in range(3)
            ]
            assert three.indices(length) == views
            clip = value.random_indices(length, drawn)
            assert all(int(a) <= n < b for n, (a, b) in zip(clip, pairs, strict=True))
    value = shape(2, 1, sampling="segments")
    draws = {tuple(value.random_indices(5, drawn)) for _ in range(200)}
    assert draws == {(a, b) for a in (0, 1, 2) for b in (2, 3, 4)}
    assert value.indices_from(0.25, times=np.arange(10) / 10, end=1.0) == [4, 8]
    assert value.indices_from(9.0, times=np.arange(10) / 10, end=1.0) == [9, 9]


def test_what_does_not_apply_is_no_difference() -> None:
    spread = shape(8, 4, sampling="segments", fps=30.0, span="even", short_video="pad")
    assert spread == shape(8, 1, sampling="segments", rate=25.0, places="free")
    assert not spread.by_time
    assert spread.for_rate(25.0) == spread
    assert (spread.seconds(25.0), spread.changed(duration=3.5).seconds(5.0)) == (np.inf, 3.5)
    assert spread.changed(sampling="dense", stride=2) == shape(8, 2)
    whole = shape(8, 8, picture="whole", rectangle=[96, 160], test_crop=100, views=[10, 3])
    assert Preprocessing.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole
    assert (whole.views, whole.num_views, whole.view_shape) == ((10, 1), 10, (8, 96, 160))
    assert whole.shown_views == "10x1 of 8x96x160"
    assert "three crops are the same view" in whole.asks_crops((5, 3))
    assert whole.asks_crops((5, 1)) == shape(8, 8).asks_crops((5, 3)) == ""
    assert shape(8, 8, picture="whole").rectangle == (224, 224)
    assert whole.changed(picture="crop", views=(10, 3)) == shape(8, 8)
    assert shape(8, 8, rectangle=(9, 9), duration=2.0) == shape(8, 8)
    for entries, said in (
        ({"sampling": "segments", "stride": 2}, "stride=2 does not apply to sampling=segments"),
        ({"sampling": "segments", "places": "free"}, "spread over the whole video"),
        ({"duration": 3.0}, "duration=3.0 does not apply to sampling=dense"),
        ({"rectangle": (96, 96)}, "squares are shown"),
        ({"picture": "whole", "test_crop": 96}, "whole pictures are shown"),
        ({"picture": "half"}, "picture is half; it must be one of crop, whole"),
        ({"picture": "whole", "rectangle": (0, 96)}, "rectangle is .0, 96.; it must be height"),
        ({"picture": "whole", "rectangle": (4096, 4096), "frames": 64}, "at most .* pixels"),
        ({"duration": -1.0}, "a number above 0"),
    ):
        with pytest.raises(VideoNLError, match=said):
            shape(8, 8).changed(**entries)
    with pytest.raises(VideoNLError, match=r"crop=64 has no effect.*96x160"):
        whole.changed(crop=64)


@pytest.mark.parametrize("size", [(36, 64), (64, 36), (50, 50), (3, 400), (24, 41), (1, 1)])
@pytest.mark.parametrize("rectangle", [(24, 40), (32, 32), (40, 24)])
def test_a_whole_picture_lies_in_its_rectangle(
    size: tuple[int, int], rectangle: tuple[int, int]
) -> None:
    """As large as it fits, in the middle, the mean around it; a training clip moves it."""
    value = shape(8, 8, picture="whole", rectangle=rectangle, mean=[0, 0.5, 1], std=[1, 1, 1])
    share = min(rectangle[0] / size[0], rectangle[1] / size[1])
    height, width = (max(1, round(share * side)) for side in size)
    assert value.scaling == {"inside": rectangle, "rounding": "nearest"}
    (box,) = value.boxes(height, width)
    assert box[2:] == rectangle
    assert abs((rectangle[0] - height) + 2 * box[0]) <= 1
    assert abs((rectangle[1] - width) + 2 * box[1]) <= 1
    frames = torch.full((2, height, width, 3), 7, dtype=torch.uint8)
    view = crop(frames, *box, fill=value.padding)
    assert tuple(view.shape) == (2, *rectangle, 3)
    inside = (view == 7).all(-1)
    assert int(inside.sum()) == 2 * height * width
    assert bool((view[~inside] == torch.tensor([0, 128, 255], dtype=torch.uint8)).all())
    assert bool(inside[:, -box[0] : height - box[0], -box[1] : width - box[1]].all())
    random = np.random.default_rng(0)
    for _ in range(20):
        top, left, *shown = value.random_box(height + 3, width + 3, random)
        assert tuple(shown) == rectangle
        for begin, side, have in ((top, rectangle[0], height + 3), (left, rectangle[1], width + 3)):
            assert min(0, have - side) <= begin <= max(0, have - side)


def test_the_rectangle_of_a_data_set() -> None:
    found = {aspect: rectangle_of(aspect, 112) for aspect in (16 / 9, 4 / 3, 1, 9 / 16)}
    assert list(found.values()) == [(80, 144), (96, 128), (112, 112), (144, 80)]
    assert rectangle_of(16 / 9, 64) == (48, 88)
    assert rectangle_of(1000.0, 112) == (32, 320)
    assert rectangle_of(1.0, 3) == (8, 8)
