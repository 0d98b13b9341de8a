"""Test-time views of one video: clips spread in time x crops in space, out of one decoding run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from videonl.errors import VideoNLError
from videonl.video.sampling import ClipShape, uniform_clips
from videonl.video.transforms import spatial_views
from videonl.video.video import Video


@dataclass(frozen=True)
class Views:
    """The views of one video.

    Attributes:
        frames: uint8 (V, T, H, W, 3); view ``clip * crops + crop``.
        indices: frame numbers per clip.
        seconds: when these frames appear, seconds as a player shows them, per clip.
    """

    frames: torch.Tensor
    indices: list[list[int]]
    seconds: list[list[float]]


def clip_shape(preprocessing: Mapping[str, Any]) -> ClipShape:
    """The clip of a preprocessing: ``frames``, ``stride``, optional ``fps`` and ``short_video``."""
    return ClipShape(
        frames=int(preprocessing["frames"]),
        stride=int(preprocessing["stride"]),
        fps=preprocessing.get("fps"),
        short_video=preprocessing.get("short_video", "loop"),
    )


def read_views(
    video: Video, preprocessing: Mapping[str, Any], *, clips: int = 10, crops: int = 3
) -> Views:
    """Read the views of a video, for evaluation and for inference alike.

    One crop is the centre at the training size (``crop``); three crops are squares of the whole
    short side along the longer side, as the paper tests (section 4: fully-convolutional, short side
    256).

    Args:
        video: an open video.
        preprocessing: ``frames``, ``stride``, ``short_side``, ``crop``; optional ``fps``,
            ``short_video``.
        clips: clips, spread evenly over the video.
        crops: 1 or 3.

    Raises:
        VideoError: a frame can not be read.
        VideoNLError: ``crops`` is neither 1 nor 3, or the crop is larger than the short side.
    """
    short_side, size = int(preprocessing["short_side"]), int(preprocessing["crop"])
    if size > short_side:
        raise VideoNLError(f"crop={size} is larger than short_side={short_side}")
    shape = clip_shape(preprocessing)
    by_time = shape.fps is not None
    times, end = (video.times(), video.end) if by_time else (None, None)
    indices = uniform_clips(video.num_frames, shape, clips, times=times, end=end)
    return views_of(video, indices, short_side=short_side, crop=size, crops=crops)


def views_of(
    video: Video, indices: list[list[int]], *, short_side: int, crop: int, crops: int
) -> Views:
    """Read clips with given frame numbers and cut them into crops; one decoding run for all."""
    wanted = sorted({index for clip in indices for index in clip})
    place = {index: i for i, index in enumerate(wanted)}
    frames = video.read(wanted, short_side=short_side)  # (N, H, W, 3)
    size = short_side if crops == 3 else crop
    views = []
    for clip in indices:
        chosen = frames[[place[index] for index in clip]]  # (T, H, W, 3)
        views.extend(spatial_views(chosen, crops, crop_size=size))
    seconds = [[float(s) for s in video.times(clip)] for clip in indices]
    return Views(torch.stack(views), indices, seconds)
