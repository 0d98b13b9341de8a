"""Crops, normalisation, views and augmentation of uint8 clips."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.videos import numbered_frames, read_number, write_video
from videonl.data.augment import OPERATIONS, Augmentation, augment, erase, rand_augment
from videonl.errors import VideoNLError
from videonl.video.transforms import (
    center_crop,
    crop,
    random_resized_crop,
    spatial_views,
    three_crops,
    to_clips,
)
from videonl.video.video import open_video
from videonl.video.views import read_views

MEAN, STD = [0.45, 0.4, 0.35], [0.225, 0.2, 0.25]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def test_to_clips_is_the_formula_and_channels_last() -> None:
    video = noise(2, 3, 4, 5, 6, 3)
    clips = to_clips(video, mean=MEAN, std=STD)
    assert clips.shape == (2, 3, 3, 4, 5, 6)
    want = (video.double() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(clips.double(), want.movedim(-1, 2), atol=1e-5, rtol=0)
    flat = clips.flatten(0, 1)
    assert flat.is_contiguous(memory_format=torch.channels_last_3d)
    assert flat.data_ptr() == clips.data_ptr()


@pytest.mark.parametrize("video", [torch.zeros(2, 3, 4, 4), torch.zeros(1, 2, 2, 3)])
def test_to_clips_refuses(video: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="video must be"):
        to_clips(video, mean=MEAN, std=STD)


def test_three_crops_cover_the_long_side() -> None:
    for shape in ((2, 6, 11, 3), (2, 11, 6, 3)):
        frames = noise(*shape)
        one, two, three = three_crops(frames, 6)
        assert one.shape == two.shape == three.shape == (2, 6, 6, 3)
        long = 1 if shape[1] > shape[2] else 2
        assert torch.equal(one, frames.narrow(long, 0, 6))
        assert torch.equal(two, center_crop(frames, 6))
        assert torch.equal(three, frames.narrow(long, 5, 6))


def test_crops_outside_are_refused() -> None:
    with pytest.raises(VideoNLError, match="not inside frames of 4x4"):
        crop(noise(1, 4, 4, 3), 0, 1, 4, 4)
    with pytest.raises(VideoNLError, match="crops must be 1 or 3, got 2"):
        spatial_views(noise(1, 4, 4, 3), 2, crop_size=4)


def test_random_resized_crop() -> None:
    frames = noise(2, 40, 60, 3)
    whole = random_resized_crop(
        frames[:, :, :40], 40, np.random.default_rng(0), area=(1, 1), ratio=(1, 1)
    )
    assert torch.equal(whole, frames[:, :, :40])
    draws = [random_resized_crop(frames, 16, np.random.default_rng(i)) for i in (1, 1, 2)]
    assert draws[0].shape == (2, 16, 16, 3)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_read_views(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(60, 64, 96))
    shape = {"frames": 4, "stride": 2, "short_side": 64, "crop": 32}
    with open_video(path) as video:
        views = read_views(video, shape, clips=3, crops=3)
        center = read_views(video, shape, clips=1, crops=1)
        by_time = read_views(video, {**shape, "fps": 12.5}, clips=1, crops=1)
    assert views.frames.shape == (9, 4, 64, 64, 3)
    assert views.indices == [[0, 2, 4, 6], [27, 29, 31, 33], [53, 55, 57, 59]]
    assert views.seconds[1] == pytest.approx([i / 25 for i in views.indices[1]])
    with open_video(path) as video:
        frames = video.read(views.indices[2])  # (4, 64, 96, 3)
    assert torch.equal(views.frames[8], frames[:, :, 32:])
    assert center.frames.shape == (1, 4, 32, 32, 3)
    assert by_time.indices[0][1] - by_time.indices[0][0] == 4  # 2 ticks of 1/12.5 s at 25 fps
    with open_video(path) as video, pytest.raises(VideoNLError, match="crop=65 is larger"):
        read_views(video, {**shape, "crop": 65}, clips=1, crops=1)


def test_short_video_loops_or_pads(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    shape = {"frames": 8, "stride": 1, "short_side": 64, "crop": 64}
    for how, want in (("loop", [0, 1, 2, 3, 4, 0, 1, 2]), ("pad", [0, 1, 2, 3, 4, 4, 4, 4])):
        with open_video(path) as video:
            clip = read_views(video, {**shape, "short_video": how}, clips=1, crops=1).frames[0]
        assert [read_number(frame.numpy()) for frame in clip] == want


ALL = Augmentation(flip=0.5, layers=2, magnitude=9, erasing=0.5)


def test_augment_is_deterministic_per_sample() -> None:
    video = noise(4, 1, 3, 16, 20, 3)
    labels, seeds = torch.tensor([0, 1, 2, 3]), torch.tensor([5, 6, 7, 8])
    before = video.clone()
    together = augment(video, labels, seeds, ALL)
    assert torch.equal(video, before)
    assert together.shape == video.shape
    assert together.dtype == torch.uint8
    for i in range(4):  # whatever batch a sample is in
        alone = augment(video[i : i + 1], labels[i : i + 1], seeds[i : i + 1], ALL)
        assert torch.equal(alone[0], together[i])
    assert not torch.equal(together, augment(video, labels, seeds + 1, ALL))


def test_flip_and_its_exceptions() -> None:
    video = noise(64, 1, 2, 4, 6, 3)
    seeds = range(64)
    flipped = augment(video, [0] * 64, seeds, Augmentation(flip=1))
    assert torch.equal(flipped, video.flip(-2))
    kept = augment(video, [7] * 64, seeds, Augmentation(flip=1, flip_exceptions={7}))
    assert torch.equal(kept, video)
    some = augment(video, [0] * 64, seeds, Augmentation(flip=0.5))
    count = sum(not torch.equal(a, b) for a, b in zip(some, video, strict=True))
    assert 18 < count < 46


def test_erase_is_the_same_box_in_all_frames() -> None:
    clip = torch.zeros(5, 30, 40, 3, dtype=torch.uint8)
    erased = erase(clip, np.random.default_rng(3))
    assert not clip.any()
    changed = erased.ne(0).any(-1)  # (T, H, W)
    assert changed.any()
    assert (changed == changed[0]).all()
    assert 0.01 < changed[0].float().mean() < 0.36


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_keep_the_form_and_do_not_flicker(name: str) -> None:
    clip = noise(1, 24, 24, 3).expand(4, -1, -1, -1)  # four equal frames
    frames = clip.permute(0, 3, 1, 2)
    for strength in (-1.0, -0.3, 0.3, 1.0):
        out = OPERATIONS[name](frames, strength)
        assert out.shape == frames.shape
        assert out.dtype == torch.uint8
        assert (out == out[:1]).all(), "frames of a clip must be changed alike"
    changed = not torch.equal(OPERATIONS[name](frames // 2 + 40, 1.0), frames // 2 + 40)
    assert changed == (name != "identity")


def test_rand_augment_draws_everything() -> None:
    clip = noise(2, 16, 16, 3)
    generator = np.random.default_rng(0)
    results = [rand_augment(clip, generator, layers=3) for _ in range(30)]
    assert all(r.shape == clip.shape and r.dtype == torch.uint8 for r in results)
    assert len({r.numpy().tobytes() for r in results}) > 15


@pytest.mark.parametrize(
    "values", [{"flip": 2}, {"erasing": -1}, {"layers": -1}, {"magnitude": 11}]
)
def test_wrong_augmentation(values: dict) -> None:
    with pytest.raises(ValueError, match="got"):
        Augmentation(**values)
