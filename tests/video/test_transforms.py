"""Crops, normalisation and views of uint8 clips."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.videos import numbered_frames, read_number, write_video
from videonl.errors import VideoNLError
from videonl.video import (
    Preprocessing,
    crop,
    open_video,
    random_resized_crop,
    read_views,
    to_clips,
)

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


def test_crops_outside_are_refused() -> None:
    with pytest.raises(VideoNLError, match="not lie inside frames of 4x4"):
        crop(noise(1, 4, 4, 3), 0, 1, 4, 4)


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
    shape = Preprocessing(frames=4, stride=2, short_side=64, crop=32, views=(1, 1))
    with open_video(path) as video:
        views = read_views(video, shape.with_views((3, 3)))
        center = read_views(video, shape)
        by_time = read_views(video, shape.changed(fps=12.5))
    assert views.frames.shape == (9, 4, 64, 64, 3)
    assert views.indices == [[0, 2, 4, 6], [26, 28, 30, 32], [53, 55, 57, 59]]  # 26.5 to even
    assert views.seconds[1] == pytest.approx([i / 25 for i in views.indices[1]])
    with open_video(path) as video:
        frames = video.read(views.indices[2])  # (4, 64, 96, 3)
    assert torch.equal(views.frames[8], frames[:, :, 32:])
    assert center.frames.shape == (1, 4, 32, 32, 3)
    assert by_time.indices[0][1] - by_time.indices[0][0] == 4  # 2 ticks of 1/12.5 s at 25 fps


def test_short_video_loops_or_pads(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 5)
    shape = Preprocessing(frames=8, stride=1, short_side=64, crop=64, views=(1, 1))
    for how, want in (("loop", [0, 1, 2, 3, 4, 0, 1, 2]), ("pad", [0, 1, 2, 3, 4, 4, 4, 4])):
        with open_video(path) as video:
            clip = read_views(video, shape.changed(short_video=how)).frames[0]
        assert [read_number(frame.numpy()) for frame in clip] == want
