"""The sample task: both tracks tell the class, one track tells nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.marks import mostly_slow
from tests.sample.oracle import relation_of
from videonl.errors import DatasetError
from videonl.sample import (
    RELATIONS,
    SHAPES,
    SPLITS,
    SampleParameters,
    draw_scene,
    sample_clips,
)

ALL = tuple(RELATIONS)
FOUR = SampleParameters(classes=ALL, train=2400, val=40, test=600, seed=3)


@pytest.fixture(scope="module")
def tracks():
    """Labels (N,) and tracks (N, 2, frames, 2) of the training and the test split."""
    found = {}
    for split in ("train", "test"):
        clips = [clip for clip in sample_clips(FOUR) if clip.split == split]
        labels = np.array([ALL.index(clip.scene.relation) for clip in clips])
        pairs = [[body.track(FOUR.frames) for body in clip.scene.bodies] for clip in clips]
        found[split] = labels, np.array(pairs)
    return found


def nearest_neighbours(train, train_labels, test, neighbours=15):
    """Labels that the nearest training vectors (features standardised) vote for."""
    mean, scale = train.mean(0), train.std(0)
    train, test = (train - mean) / scale, (test - mean) / scale
    squares = (train**2).sum(1)[None] - 2 * test @ train.T
    nearest = np.argpartition(squares, neighbours, axis=1)[:, :neighbours]
    votes = np.eye(len(ALL))[train_labels[nearest]].sum(1)
    return votes.argmax(1)


def test_an_oracle_of_both_tracks_is_always_right(tracks):
    for labels, pairs in tracks.values():
        found = [relation_of(pair) for pair in pairs]
        assert found == [ALL[label] for label in labels]


@pytest.mark.parametrize("gap", [None, 16])
def test_the_first_body_is_the_very_same_in_every_class(gap):
    parameters = replace(FOUR, gap=gap)
    for index in range(200):
        scenes = [draw_scene(parameters, name, split="val", index=index) for name in ALL]
        assert len({scene.bodies[0] for scene in scenes}) == 1
        assert len({scene.texture_seed for scene in scenes}) == 1


@pytest.mark.parametrize("gap", [None, 16])
def test_of_the_second_body_only_the_direction_depends_on_the_class(gap):
    parameters = replace(FOUR, gap=gap)
    for index in range(200):
        bodies = [draw_scene(parameters, name, split="val", index=index).bodies[1] for name in ALL]
        rest = {(b.x, b.y, b.radius, b.shape, b.luma, b.blue, b.red) for b in bodies}
        assert len(rest) == 1
        assert np.ptp([math.hypot(b.dx, b.dy) for b in bodies]) < 1e-9


def test_of_colours_only_the_second_hue_depends_on_the_class() -> None:
    parameters = replace(FOUR, of="colour")
    for index in range(200):
        scenes = [draw_scene(parameters, name, split="val", index=index) for name in ALL]
        assert len({scene.bodies[0] for scene in scenes}) == 1
        assert len({replace(s.bodies[1], blue=0, red=0) for s in scenes}) == 1
        for name, scene in zip(ALL, scenes, strict=True):
            hues = [[[0, 0], [body.blue - 128, body.red - 128]] for body in scene.bodies]
            assert relation_of(np.array(hues)) == name


def test_what_is_not_related_tells_nothing_of_the_class() -> None:
    """Directions where the hues are related: over the classes they are drawn alike."""
    clips = [clip.scene for clip in sample_clips(replace(FOUR, of="colour", train=600, test=0))]
    tracks = np.array([[body.track(FOUR.frames) for body in scene.bodies] for scene in clips])
    told = [relation_of(pair) == s.relation for pair, s in zip(tracks, clips, strict=True)]
    assert abs(np.mean(told) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(told))


@pytest.mark.parametrize("name", mostly_slow(ALL, quick=["opposite", "perpendicular"]))
def test_the_second_direction_is_distributed_like_the_first(name):
    """Each map sends the arcs of directions onto themselves, one to one, keeping lengths."""
    scenes = [draw_scene(FOUR, name, split="train", index=index).bodies for index in range(4000)]
    angles = [
        np.sort([math.degrees(math.atan2(pair[k].dy, pair[k].dx)) % 360 for pair in scenes])
        for k in (0, 1)
    ]
    # Two-sample Kolmogorov-Smirnov at 0.1 %: 1.95 sqrt(2 / n).
    grid = np.linspace(0, 360, 721)
    first, second = (np.searchsorted(a, grid) / len(a) for a in angles)
    assert np.abs(first - second).max() < 1.95 * math.sqrt(2 / len(scenes))
    assert np.abs((angles[1] - 22.5 + 22.5) % 45 - 22.5).max() < 10.001


@pytest.mark.parametrize("body", [0, 1])
def test_a_classifier_of_one_track_is_at_chance(tracks, body):
    train_labels, train = tracks["train"]
    labels, test = tracks["test"]
    ends = [t[:, body][:, [0, -1]].reshape(len(t), 4) for t in (train, test)]
    right = (nearest_neighbours(ends[0], train_labels, ends[1]) == labels).mean()
    chance, spread = 1 / len(ALL), math.sqrt(0.25 * 0.75 / len(labels))
    assert abs(right - chance) < 4 * spread


def test_the_same_classifier_of_both_tracks_is_far_above_chance(tracks):
    """Else the test above would only show a weak classifier."""
    train_labels, train = tracks["train"]
    labels, test = tracks["test"]
    motions = [(t[:, :, -1] - t[:, :, 0]).reshape(len(t), 4) for t in (train, test)]
    assert (nearest_neighbours(motions[0], train_labels, motions[1]) == labels).mean() > 0.95


def test_places_in_the_middle_of_a_clip_tell_nothing(tracks):
    train_labels, train = tracks["train"]
    labels, test = tracks["test"]
    places = [t[:, :, [0, -1]].mean(2).reshape(len(t), 4) for t in (train, test)]
    right = (nearest_neighbours(places[0], train_labels, places[1]) == labels).mean()
    assert abs(right - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(labels))


def test_bodies_stay_inside_the_picture_at_the_asked_distance(tracks):
    pairs = np.concatenate([pairs for _, pairs in tracks.values()])
    radius = 0.11 * FOUR.scale * FOUR.size  # the largest body
    assert pairs.min() > radius
    assert pairs.max() < FOUR.size - radius
    middle = pairs[:, :, [0, -1]].mean(2)
    distances = np.linalg.norm(middle[:, 0] - middle[:, 1], axis=1)
    low, high = FOUR.distance
    assert low <= distances.min() < low + 1
    assert high - 1 < distances.max() <= high


def test_distance_can_be_fixed():
    parameters = SampleParameters(distance=(60, 60))
    scenes = [draw_scene(parameters, "same", split="test", index=i) for i in range(20)]
    assert [scene.distance for scene in scenes] == pytest.approx([60] * 20)


def test_splits_and_seeds_share_no_clip():
    scenes = [
        draw_scene(SampleParameters(seed=seed), "same", split=split, index=index)
        for seed in (0, 1, 2)
        for split in SPLITS
        for index in range(100)
    ]
    assert len({scene.bodies for scene in scenes}) == len(scenes)
    assert len({scene.texture_seed for scene in scenes}) == len(scenes)


def test_every_shape_occurs_and_classes_are_balanced():
    clips = list(sample_clips(SampleParameters(train=300, val=30, test=60)))
    assert {clip.scene.bodies[1].shape for clip in clips} == set(SHAPES)
    for split, count in (("train", 300), ("val", 30), ("test", 60)):
        names = [clip.scene.relation for clip in clips if clip.split == split]
        assert {name: names.count(name) for name in set(names)} == dict.fromkeys(
            ("same", "opposite", "perpendicular"), count // 3
        )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": ("same", "meet")}, "meet"),
        ({"classes": ("same",)}, "two or more"),
        ({"size": 63}, "even"),
        ({"frames": 1}, "2 frames"),
        ({"train": -1}, "at least 0"),
        ({"train": 0, "val": 0, "test": 0}, "no clip would be written"),
        ({"gap": 29}, "give 0 to 28"),
        ({"gap": -1}, "give 0 to 28"),
        ({"of": "size"}, "of=size: give motion or colour"),
        ({"distance": (10, 120)}, r"between 0 and 68\.16"),
    ],
)
def test_parameters_out_of_range_are_one_sentence(values, message):
    with pytest.raises(DatasetError, match=message):
        SampleParameters(**values)


def test_small_bodies_leave_room_for_large_distances() -> None:
    small = SampleParameters(size=96, scale=0.5, distance=(12, 68), train=60, val=0, test=0)
    usual = SampleParameters(size=96, scale=1, distance=(12, 48), train=60, val=0, test=0)
    for one, other in zip(sample_clips(small), sample_clips(usual), strict=True):
        for body, whole in zip(one.scene.bodies, other.scene.bodies, strict=True):
            assert body.radius == pytest.approx(whole.radius / 2, rel=0.25)
            track = body.track(small.frames)
            assert track.min() >= body.radius
            assert track.max() <= 96 - body.radius
    assert max(clip.scene.distance for clip in sample_clips(small)) > 60
    with pytest.raises(DatasetError, match=r"scale=0\.1"):
        SampleParameters(scale=0.1)
    with pytest.raises(DatasetError, match="0 and 64"):
        SampleParameters(size=128, scale=1, distance=(32, 70))
