"""Test-time views of one video: clips spread in time x crops in space, out of one decoding run."""

from dataclasses import dataclass
from typing import Any

import torch

from videonl.video.preprocessing import Preprocessing
from videonl.video.transforms import crop
from videonl.video.video import Video


@dataclass(frozen=True)
class Views:
    """The views of one video.

    Attributes:
        frames: uint8 (V, T, H, W, 3); view ``clip * crops + crop``.
        indices: frame numbers per clip.
        seconds: when these frames appear, seconds as a player shows them, per clip.
        preprocessing: what decided on them.
    """

    frames: torch.Tensor
    indices: list[list[int]]
    seconds: list[list[float]]
    preprocessing: Preprocessing


def settled(video: Video, preprocessing: Preprocessing) -> tuple[Preprocessing, dict[str, Any]]:
    """(what to show of this video, the arguments ``times`` and ``end`` for its frame numbers).

    Raises:
        VideoError: clips are taken by time, and its times are beyond all measure.
    """
    shown = preprocessing
    if preprocessing.rate is not None or preprocessing.counts_frames:
        shown = preprocessing.for_rate(video.fps)
    return shown, {"times": video.times(), "end": video.end} if shown.by_time else {}


def read_views(video: Video, preprocessing: Preprocessing) -> Views:
    """Read the views of a video, for evaluation and for inference alike.

    Args:
        video: an open video.
        preprocessing: says which.

    Raises:
        VideoError: a frame can not be read.
    """
    shown, clock = settled(video, preprocessing)
    indices = shown.indices(video.num_frames, **clock)
    wanted = sorted({index for clip in indices for index in clip})
    place = {index: i for i, index in enumerate(wanted)}
    frames = video.read(wanted, **preprocessing.scaling)  # (N, H, W, 3)
    boxes = preprocessing.boxes(frames.shape[1], frames.shape[2])
    views: list[torch.Tensor] = []
    for clip in indices:
        chosen = frames[[place[index] for index in clip]]  # (T, H, W, 3)
        views.extend(crop(chosen, *box, fill=preprocessing.padding) for box in boxes)
    seconds = [[float(s) for s in video.times(clip)] for clip in indices]
    return Views(torch.stack(views), indices, seconds, preprocessing)
