"""Which frames a clip consists of: pure integers, no files.

A clip of ``frames`` frames at ``stride`` covers ``(frames - 1) * stride + 1`` frames and its step
is constant, always. "By time" works on a *timeline*: an integer per tick of the wanted rate that
says which frame is on display at that moment. Sampling then counts ticks instead of frames, so that
it is right under variable frame rate and drops or repeats frames where the rates differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

ShortVideo = Literal["loop", "pad"]


@dataclass(frozen=True)
class ClipShape:
    """How a clip is cut out of a video.

    Attributes:
        frames: frames per clip, T.
        stride: step between them, in frames (or in ticks of ``1 / fps`` seconds).
        fps: None: count the file's own frames. A number: sample by time at that rate.
        short_video: what follows the end of a video shorter than the clip: ``"loop"`` starts again
            at its first frame, ``"pad"`` repeats its last one.
    """

    frames: int
    stride: int
    fps: float | None = None
    short_video: ShortVideo = "loop"

    def __post_init__(self) -> None:
        if self.frames < 1 or self.stride < 1:
            raise ValueError(
                f"frames and stride must be at least 1, got {self.frames} and {self.stride}"
            )
        if self.fps is not None and not self.fps > 0:
            raise ValueError(f"fps must be above 0 or None, got {self.fps}")
        if self.short_video not in ("loop", "pad"):
            raise ValueError(f"short_video must be 'loop' or 'pad', got {self.short_video!r}")

    @property
    def span(self) -> int:
        """Frames from the first to the last of a clip, both counted."""
        return (self.frames - 1) * self.stride + 1

    def positions(self, start: int, length: int) -> np.ndarray:
        """int64 (frames,): positions in a video (or timeline) of ``length`` frames."""
        positions = start + self.stride * np.arange(self.frames, dtype=np.int64)
        if self.short_video == "loop":
            return positions % length
        return np.minimum(positions, length - 1)


def last_shown(times: np.ndarray, fps: float) -> float:
    """Seconds that the last frame is on display where nothing tells: the median gap of all."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 1.0 / fps


def timeline(
    times: Sequence[float] | np.ndarray, fps: float, *, end: float | None = None
) -> np.ndarray:
    """Frame on display at each tick of ``1 / fps`` seconds, the first when the first one appears.

    Args:
        times: seconds at which each frame appears, increasing.
        fps: ticks per second.
        end: seconds at which the last frame disappears; None: after the median gap of the others.

    Returns:
        int64 (ticks,): frame numbers, never decreasing; at least one tick.
    """
    moments = np.asarray(times, np.float64) - times[0]
    last = last_shown(moments, fps)
    length = float(moments[-1]) + last if end is None else end - float(times[0])
    ticks = max(1, round(length * fps))
    # A frame that appears within a thousandth of a tick counts: times are rounded in containers
    # (Matroska: to milliseconds), and 1/30 s is no binary number.
    tolerance = max(1e-3 / fps, 1.1e-3 if last > 4e-3 else 0.0)
    shown = np.searchsorted(moments, np.arange(ticks) / fps + tolerance, side="right") - 1
    return np.clip(shown, 0, len(moments) - 1).astype(np.int64)


def random_clip(
    length: int,
    shape: ClipShape,
    generator: np.random.Generator,
    *,
    times: Sequence[float] | np.ndarray | None = None,
    end: float | None = None,
) -> list[int]:
    """Frame numbers of one clip at a random place.

    Args:
        length: frames in the video.
        shape: the clip.
        generator: the source of randomness (:func:`sample_generator`).
        times: seconds of all frames; needed when ``shape.fps`` is set.
        end: seconds at which the last one disappears; see :func:`timeline`.
    """
    frames = _timeline(length, shape, times, end)
    start = int(generator.integers(0, max(0, len(frames) - shape.span) + 1))
    return _clip(frames, shape, start)


def uniform_clips(
    length: int,
    shape: ClipShape,
    clips: int,
    *,
    times: Sequence[float] | np.ndarray | None = None,
    end: float | None = None,
) -> list[list[int]]:
    """Frame numbers of ``clips`` clips spread evenly from the first to the last possible place.

    One clip is taken from the middle.
    """
    if clips < 1:
        raise ValueError(f"clips must be at least 1, got {clips}")
    frames = _timeline(length, shape, times, end)
    free = max(0, len(frames) - shape.span)
    if clips == 1:
        return [_clip(frames, shape, free // 2)]
    return [
        _clip(frames, shape, (2 * i * free + clips - 1) // (2 * (clips - 1))) for i in range(clips)
    ]


def sample_generator(seed: int, epoch: int, index: int, rank: int = 0) -> np.random.Generator:
    """The randomness of one sample, the same whichever worker draws it."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch, index, rank))))


def _timeline(
    length: int,
    shape: ClipShape,
    times: Sequence[float] | np.ndarray | None,
    end: float | None,
) -> np.ndarray:
    if length < 1:
        raise ValueError(f"a video needs at least one frame, got length={length}")
    if shape.fps is None:
        return np.arange(length, dtype=np.int64)
    if times is None:
        raise ValueError("sampling by time (fps) needs the times of the frames")
    if len(times) != length:
        raise ValueError(f"times of all {length} frames are needed, got {len(times)}")
    return timeline(times, shape.fps, end=end)


def _clip(frames: np.ndarray, shape: ClipShape, start: int) -> list[int]:
    return [int(i) for i in frames[shape.positions(start, len(frames))]]
