"""Which frame is on display when, and the randomness of a sample: pure numbers, no files."""

from collections.abc import Sequence

import numpy as np


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


def sample_generator(seed: int, epoch: int, index: int, rank: int = 0) -> np.random.Generator:
    """The random generator of one sample, the same whichever worker draws it."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch, index, rank))))
