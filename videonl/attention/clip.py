"""The clip whose attention is computed, and where its pixels are in the pictures of the file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from videonl.errors import VideoNLError
from videonl.video.preprocessing import Preprocessing
from videonl.video.transforms import crop as cut
from videonl.video.video import Video

CROPS = ("centre", "first", "middle", "last")
CLIPS = 10  # the clips that --clip counts, spread over the video as in a test
PICTURE_SIDE = 360  # short side of the pictures that are drawn on, in pixels


@dataclass(frozen=True)
class AttendedClip:
    """One clip as the network sees it, and the same frames whole.

    Coordinates of the file's pictures are (row, column) as they are shown, after rotation; a whole
    number is the middle of a pixel.

    Attributes:
        view: uint8 (T, H, W, 3), what the network gets.
        pictures: uint8 (T, h, w, 3), the whole frames, at most ``PICTURE_SIDE`` high or wide.
        indices: frame numbers in the file.
        seconds: when they appear, as a player shows it.
        size: (height, width) of the file's pictures.
        scaled: (height, width) of the pictures that the view is cut from.
        corner: (top, left) of the view in those; below 0 where it begins before the picture.
    """

    view: Tensor
    pictures: Tensor
    indices: tuple[int, ...]
    seconds: tuple[float, ...]
    size: tuple[int, int]
    scaled: tuple[int, int]
    corner: tuple[int, int]

    @property
    def pixel(self) -> tuple[float, float]:
        """(height, width) of a pixel of the view, in pixels of the file."""
        return self.size[0] / self.scaled[0], self.size[1] / self.scaled[1]

    @property
    def region(self) -> tuple[float, float, float, float]:
        """(top, left, bottom, right) of the view in the file's pictures: edges, not centres.

        The filling around a whole picture does not belong to it.
        """
        edges = []
        for side, (first, pixel, size) in enumerate(
            zip(self.corner, self.pixel, self.size, strict=True), start=1
        ):
            last = first + self.view.shape[side]
            edges.append((max(first * pixel, 0.0), min(last * pixel, float(size))))
        (top, bottom), (left, right) = edges
        return top, left, bottom, right

    def to_file(self, row: float, column: float) -> tuple[float, float]:
        """A point of the view as a point of the file's pictures."""
        (top, left), (tall, wide) = self.corner, self.pixel
        return (row + top + 0.5) * tall - 0.5, (column + left + 0.5) * wide - 0.5

    def to_view(self, row: float, column: float) -> tuple[float, float]:
        """The inverse of :meth:`to_file`."""
        (top, left), (tall, wide) = self.corner, self.pixel
        return (row + 0.5) / tall - 0.5 - top, (column + 0.5) / wide - 0.5 - left

    def second(self, time: float) -> float:
        """Seconds at a place between the frames of the clip (0 is its first frame).

        Where a short video starts again in the middle of the clip, those of the earlier frame.
        """
        early = min(max(int(np.floor(time)), 0), len(self.seconds) - 1)
        late = min(early + 1, len(self.seconds) - 1)
        gap = max(0.0, self.seconds[late] - self.seconds[early])
        return self.seconds[early] + gap * min(max(time - early, 0.0), 1.0)


def read_attended(
    video: Video,
    preprocessing: Preprocessing,
    *,
    clip: int | None = None,
    start: float | None = None,
    crop: str = "centre",
) -> AttendedClip:
    """Read the clip.

    Args:
        video: an open video.
        preprocessing: what the network is shown of this video (``Predictor.shown``).
        clip: one of the ten clips that a test spreads over the video, 0 to 9.
        start: seconds at which the clip starts instead; segments are spread over the rest of the
            video. Neither: the clip of a test of one clip.
        crop: "centre" at the size of the training, or "first", "middle", "last": the squares along
            the longer side of a test with three crops.

    Raises:
        VideoError: the file cannot be read.
        VideoNLError: no such clip, time or crop.
    """
    if crop not in CROPS:
        raise VideoNLError(f"crop {crop!r} is unknown; use one of {', '.join(CROPS)}")
    if crop != "centre" and preprocessing.rectangle is not None:
        raise VideoNLError(f"--crop {crop}: the network is shown whole pictures, not parts of them")
    indices = clip_indices(video, preprocessing, clip=clip, start=start)
    frames = video.read(indices, **preprocessing.scaling)  # (T, h, w, 3)
    scaled = int(frames.shape[1]), int(frames.shape[2])
    crops, number = (1, 0) if crop == "centre" else (3, CROPS.index(crop) - 1)
    box = preprocessing.with_views((1, crops)).boxes(*scaled)[number]
    side = min(video.height, video.width, PICTURE_SIDE)
    return AttendedClip(
        view=cut(frames, *box, fill=preprocessing.padding),
        pictures=video.read(indices, short_side=side),
        indices=tuple(indices),
        seconds=tuple(float(s) for s in video.times(indices)),
        size=(video.height, video.width),
        scaled=scaled,
        corner=box[:2],
    )


def clip_indices(
    video: Video, preprocessing: Preprocessing, *, clip: int | None, start: float | None
) -> list[int]:
    """Frame numbers of the clip; see :func:`read_attended`."""
    times, end = video.times(), video.end
    if clip is not None and start is not None:
        raise VideoNLError("--clip and --start both choose the clip; give one of them")
    if clip is not None and not 0 <= clip < CLIPS:
        raise VideoNLError(f"--clip {clip}: the clips over the video are 0 to {CLIPS - 1}")
    if start is None:
        clips = preprocessing.with_views((1 if clip is None else CLIPS, 1))
        return clips.indices(video.num_frames, times=times, end=end)[clip or 0]
    if not 0 <= start <= end:
        raise VideoNLError(f"--start {start:g}: {video.path} runs from 0 to {end:.2f} s")
    return preprocessing.indices_from(start, times=times, end=end)


def outside(clip: AttendedClip, at: Sequence[float]) -> str | None:
    """Why (t, y, x) is not in the clip, or None where it is."""
    time, row, column = at
    top, left, bottom, right = clip.region
    if not 0 <= time <= len(clip.indices) - 1:
        return f"t={time:g} is not among the frames 0 to {len(clip.indices) - 1} of the clip"
    if not (top <= row + 0.5 <= bottom and left <= column + 0.5 <= right):
        height, width = clip.size
        return (
            f"y={row:g}, x={column:g} is outside of the part of the {width}x{height} picture that "
            f"the network sees: rows {top:.0f} to {bottom - 1:.0f}, columns {left:.0f} to "
            f"{right - 1:.0f} (--crop chooses another part)"
        )
    return None
