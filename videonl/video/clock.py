"""When the frames of a file are on display: seconds as a player shows them.

A player's clock is at 0 where the container's own time line begins, not at the first picture: where
the sound begins 2 s before the pictures, or an edit list delays them, the first one appears at
2.0 s. MP4 and Matroska count from 0; broadcast streams begin at any number, and players count from
the first sample of any stream. AVI stores no times, only the order of its pictures.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from videonl.video.decoding.frame_table import TIMED_FORMATS

if TYPE_CHECKING:  # it decodes: not for those who only ask when frames are shown
    from videonl.video.decoding.container import Source

MOST_SECONDS = 48 * 3600.0  # longer than any recording: a damaged header
_UNTIMED_FORMATS = {"avi", "h264", "hevc", "mpegvideo"}


class Clock(NamedTuple):
    """The times of a file.

    Attributes:
        times: float64 (frames,): seconds at which each frame appears, increasing.
        end: seconds at which the last one disappears.
    """

    times: np.ndarray
    end: float


def read_clock(
    source: "Source", pts: np.ndarray | None, count: int, *, held: int = 0, whole: bool = False
) -> Clock:
    """The clock of an open file.

    Args:
        source: the file.
        pts: int64 (frames,), increasing, in ticks of the stream; None: missing or not increasing,
            so that only the nominal rate is known.
        count: frames.
        held: duration of the last frame's packet in ticks; 0 where it has none.
        whole: whether all frames that the header declares are there, so that its length is right.
    """
    rate = nominal_rate(source)
    if pts is None:
        return Clock(np.arange(count) / rate, count / rate)
    tick = float(source.stream.time_base)
    times = pts * tick - float(begin_of(source, int(pts[0])))
    if whole and source.format.startswith("mov") and source.stream.duration:
        # MP4 keeps no length of pictures, but those of the steps from one decoding to the next.
        held = max(held, int(source.stream.duration - (pts[-1] - pts[0])))
    stands = held * tick
    if not stands < MOST_SECONDS:
        stands = 0.0
    return Clock(times, float(times[-1]) + max(stands, last_shown(times, rate)))


def nominal_rate(source: "Source") -> float:
    """Frames per second, as the header states."""
    rate = source.stream.average_rate or source.stream.guessed_rate
    return float(rate) if rate else 25.0


def begin_of(source: "Source", pts: int) -> Fraction:
    """Seconds on the container's time line at which a player's clock is at 0.

    Args:
        source: the file.
        pts: of its first frame, in ticks of the stream.
    """
    first = pts * Fraction(source.stream.time_base)
    if source.format in _UNTIMED_FORMATS or not first < MOST_SECONDS:
        return first
    if source.format in TIMED_FORMATS:
        return min(first, Fraction(0))
    start = source.container.start_time  # microseconds, the earliest of all streams
    return first if start is None else min(first, Fraction(start, 1_000_000))


def last_shown(times: np.ndarray, fps: float) -> float:
    """Seconds that the last frame is on display if nothing states it: the median gap of all."""
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
