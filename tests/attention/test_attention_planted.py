"""A bright square is planted into a video; the map of a block that looks at brightness finds it."""

import math

import pytest

from tests.attention.attentive import SQUARE, bright_predictor, centroid, planted_video
from videonl.attention import attend

WIDE, TALL = (96, 176), (192, 96)
SHOWN = range(14, 26)  # frames of the file; the clip in the middle is frames 9, 12, ... 30


def check(found, *, at, frames=SHOWN, cells=0.5):
    """The map points at the square: its centre, its strongest key, frame numbers and seconds."""
    time, row, column = centroid(found)
    tall, wide = (
        stride * size for stride, size in zip(found.keys.stride[1:], found.clip.pixel, strict=True)
    )
    assert row == pytest.approx(at[0], abs=cells * tall)
    assert column == pytest.approx(at[1], abs=cells * wide)
    expected = [i for i, frame in enumerate(found.clip.indices) if frame in frames]
    middle = (expected[0] + expected[-1]) / 2
    assert time == pytest.approx(middle, abs=0.1)
    best = found.strongest[0]
    assert abs(best.y - at[0]) <= (SQUARE + tall) / 2
    assert abs(best.x - at[1]) <= (SQUARE + wide) / 2
    assert best.frame in range(frames.start - 3, frames.stop + 3)
    assert best.seconds == pytest.approx(best.frame / 20, abs=3 / 20)
    assert best.frame == found.clip.indices[math.floor(best.time)]


@pytest.mark.parametrize("affinity", ["dot_product", "concatenation", "embedded_gaussian"])
def test_every_affinity_points_at_the_square(tmp_path, affinity):
    video = planted_video(tmp_path / "a.mp4", size=WIDE, at=(40, 90), frames=SHOWN)
    strength = 20.0 if affinity == "embedded_gaussian" else 1.0
    check(attend(bright_predictor(affinity=affinity, strength=strength), video), at=(40, 90))


def test_the_gaussian_looks_from_bright_at_bright(tmp_path):
    video = planted_video(tmp_path / "a.mp4", size=WIDE, at=(40, 90), frames=SHOWN)
    found = attend(bright_predictor(affinity="gaussian"), video, at=(3, 40, 90))
    check(found, at=(40, 90), cells=1.0)


@pytest.mark.parametrize(
    "options",
    [
        {"subsample": False},
        {"subsample_position": "after"},
        {"subsample": (2, 2, 2)},
        {"subsample": (1, 3, 3), "temporal_pool": 1},
        {"temporal_pool": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize(("size", "at"), [(WIDE, (52, 60)), (TALL, (110, 40))])
def test_strides_pools_and_shapes(tmp_path, options, size, at):
    video = planted_video(tmp_path / "a.mp4", size=size, at=at, frames=SHOWN)
    check(attend(bright_predictor(**options), video), at=at)


@pytest.mark.parametrize(("crop", "at"), [("first", (50, 30)), ("last", (50, 150))])
def test_crops_at_the_ends(tmp_path, crop, at):
    video = planted_video(tmp_path / "a.mp4", size=WIDE, at=at, frames=SHOWN)
    check(attend(bright_predictor(), video, crop=crop), at=at)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_in_the_metadata(tmp_path, rotation):
    at = (80, 50)
    video = planted_video(
        tmp_path / "a.mp4", size=(192, 96), at=at, frames=SHOWN, rotation=rotation
    )
    found = attend(bright_predictor(), video)
    assert found.clip.size == (192, 96)
    check(found, at=at)


def test_a_group_sees_its_own_half_only(tmp_path):
    video = planted_video(tmp_path / "a.mp4", size=WIDE, at=(40, 90), frames=range(20))
    predictor = bright_predictor(temporal_groups=2)
    near = attend(predictor, video, at=(1, 48, 88))
    assert not near.reachable[2:].any()
    assert near.reachable[:2].all()
    assert not near.weights[2:].any()
    check(near, at=(40, 90), frames=range(9, 20))
    far = attend(predictor, video, at=(6, 48, 88))
    assert not far.weights[:2].any()
    assert far.reachable[2:].all()


def test_space_only_looks_at_its_own_frame(tmp_path):
    video = planted_video(tmp_path / "a.mp4", size=WIDE, at=(40, 90), frames=SHOWN)
    found = attend(bright_predictor(attend="space", temporal_pool=1), video, at=(3, 48, 88))
    assert found.query.frame == 18
    assert found.reachable.sum(dim=(1, 2)).nonzero().flatten().tolist() == [3]
    check(found, at=(40, 90), frames=range(18, 19))
    assert found.spread.seconds == 0


def test_time_only_looks_at_its_own_place(tmp_path):
    video = planted_video(tmp_path / "a.mp4", size=WIDE, at=(40, 90), frames=SHOWN)
    found = attend(bright_predictor(attend="time", temporal_pool=1), video, at=(0, 40, 90))
    assert found.reachable.sum() == 8
    assert {(place.y, place.x) for place in found.strongest} == {(found.query.y, found.query.x)}
    assert found.spread.pixels == pytest.approx(0, abs=1e-9)
    check(found, at=(40, 90), cells=1.0)


@pytest.mark.parametrize("given", [{"clip": 0}, {"clip": 9}, {"start": 0.35}, {"start": 1.9}])
def test_another_clip_of_the_file(tmp_path, given):
    first = {"clip": (0, 18), "start": (7, 18)}  # frame the clip starts at, of early and late ones
    early = given in ({"clip": 0}, {"start": 0.35})
    start = first[next(iter(given))][0 if early else 1]
    frames = range(start + 5, start + 17)
    video = planted_video(tmp_path / "a.mp4", size=WIDE, at=(40, 90), frames=frames)
    found = attend(bright_predictor(), video, **given)
    assert found.clip.indices == tuple(range(start, start + 24, 3))
    check(found, at=(40, 90), frames=frames)
