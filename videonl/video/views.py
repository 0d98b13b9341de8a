"""Test-time views of one video: clips spread in time x crops in space, out of one decoding run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Unpack

import numpy as np
import torch

from videonl.video.decoding.pictures import Scaling
from videonl.video.preprocessing import Preprocessing
from videonl.video.transforms import crop


class Readable(Protocol):
    """A source of clips: an open video, or its stored frames (``videonl.data``)."""

    @property
    def num_frames(self) -> int:
        """Frames in the video."""

    @property
    def fps(self) -> float:
        """Mean frames per second."""

    @property
    def damaged(self) -> set[int]:
        """Numbers of the frames that were read as the decoder repaired them."""

    @property
    def end(self) -> float:
        """Seconds at which the last frame disappears."""

    def times(self, indices: Sequence[int] | None = None) -> np.ndarray:
        """Seconds at which frames appear."""

    def read(self, indices: Sequence[int], **size: Unpack[Scaling]) -> torch.Tensor:
        """Frames by number, uint8 (len(indices), H, W, 3)."""


@dataclass(frozen=True)
class Views:
    """The views of one video.

    Attributes:
        frames: uint8 (V, T, H, W, 3); view ``clip * crops + crop``.
        indices: frame numbers per clip.
        seconds: when these frames appear, seconds as a player shows them, per clip.
        preprocessing: the value that determined them.
        damaged: numbers of the damaged frames per clip, of a video opened as ``forgiving``.
    """

    frames: torch.Tensor
    indices: list[list[int]]
    seconds: list[list[float]]
    preprocessing: Preprocessing
    damaged: list[list[int]]

    @property
    def crops(self) -> int:
        """Views per clip."""
        return len(self.frames) // len(self.indices)

    def whole(self) -> "Views":
        """The views of the clips without damaged frames."""
        kept = [number for number, damaged in enumerate(self.damaged) if not damaged]
        each = self.frames.unflatten(0, (len(self.indices), self.crops))
        return Views(
            each[kept].flatten(0, 1),
            [self.indices[number] for number in kept],
            [self.seconds[number] for number in kept],
            self.preprocessing,
            [[] for _ in kept],
        )


def settled(video: Readable, preprocessing: Preprocessing) -> tuple[Preprocessing, dict[str, Any]]:
    """(what to show of this video, the arguments ``times`` and ``end`` for its frame numbers).

    Raises:
        VideoError: clips are taken by time, and the file's times are impossible.
    """
    shown = preprocessing
    if preprocessing.rate is not None or preprocessing.counts_frames:
        shown = preprocessing.for_rate(video.fps)
    return shown, {"times": video.times(), "end": video.end} if shown.by_time else {}


def read_views(video: Readable, preprocessing: Preprocessing) -> Views:
    """Read the views of a video, for evaluation and for inference alike.

    Args:
        video: an open video.
        preprocessing: says which.

    Raises:
        VideoError: a frame cannot be read.
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
    damaged = [sorted(video.damaged.intersection(clip)) for clip in indices]
    return Views(torch.stack(views), indices, seconds, preprocessing, damaged)
