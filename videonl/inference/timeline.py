"""The classes of a long video over time: windows of so many seconds that slide over it.

    timeline = timeline_of(predictor, "match.mp4", window=2.0, hop=1.0)
    for segment in timeline.segments(threshold=0.5):
        print(segment.start, segment.end, segment.name, segment.confidence)

Every window is one clip with the centre crop, sampled by the preprocessing of the model from the
frames on display in the window: its answer is that of ``Predictor.predict(views=(1, 1))`` for a
file of these frames alone. Frames are decoded in order and dropped when no window needs them.

Windows are merged into segments by this rule: a window stands for the time nearest to its middle,
from half-way to the middle of the window before to half-way to the middle of the next one, and
never for time outside of it: gaps between windows belong to no segment. Consecutive windows without
a gap and with the same most probable class become one segment, if that class has at least
``threshold`` in each. Its confidence is the mean probability over its windows.
Segments shorter than ``min_length`` are left out. With several labels at a time, every class that
reaches the threshold in a window counts, so segments of different classes may overlap.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videonl.errors import VideoNLError
from videonl.inference.predictor import Predictor
from videonl.inference.prefetch import behind
from videonl.inference.windows import HOW_ENDS, Damage, clips_in_order
from videonl.video.given import Given, name_of
from videonl.video.preprocessing import NOTICEABLE, Preprocessing


@dataclass(frozen=True)
class Segment:
    """A stretch of one class: seconds, name, mean probability, number of windows."""

    start: float
    end: float
    name: str
    confidence: float
    windows: int

    def as_dict(self) -> dict[str, object]:
        """Primitives for JSON."""
        return {
            "start": round(self.start, 6),
            "end": round(self.end, 6),
            "class": self.name,
            "confidence": self.confidence,
            "windows": self.windows,
        }


def lanes_of(segments: Sequence[Segment]) -> list[int]:
    """Per segment, in order of their starts, the first lane where no other one is in its way."""
    ends: list[float] = []
    lanes = []
    for segment in segments:
        free = (lane for lane, end in enumerate(ends) if end <= segment.start + 1e-6)
        lane = next(free, len(ends))
        ends[lane : lane + 1] = [segment.end]
        lanes.append(lane)
    return lanes


CLOSE = 1e-3  # seconds: containers round the times of frames (Matroska: to milliseconds)


@dataclass(frozen=True)
class Window:
    """A stretch of a video.

    Attributes:
        start, end: seconds as a player shows them.
        first, last: frames ``first`` to ``last - 1`` are those on display in it.
    """

    start: float
    end: float
    first: int
    last: int

    def indices(self, times: np.ndarray, preprocessing: Preprocessing) -> list[int]:
        """Frame numbers of its clip, as a file of these frames alone would be sampled."""
        own = times[self.first : self.last]
        clip = preprocessing.with_views((1, 1)).indices(len(own), times=own)[0]
        return [self.first + index for index in clip]


@dataclass(frozen=True)
class Timeline:
    """The probabilities of each window.

    Attributes:
        path: the file, as given.
        class_names: K of them.
        windows: N of them, in order of time.
        probabilities: float64 (N, K).
        duration: seconds at which the last frame disappears, as a player shows them.
        multi_label: whether a window may have several classes.
        about: model and protocol, primitives.
        damaged: windows that are left out because they contain damaged frames.
        damaged_frames: numbers of the damaged frames in windows.
        concealed: damaged frames were used, as repaired by the decoder; then no window is left out.
    """

    path: str
    class_names: list[str]
    windows: list[Window]
    probabilities: np.ndarray
    duration: float
    multi_label: bool
    about: dict[str, Any]
    damaged: list[Window] = field(default_factory=list)
    damaged_frames: tuple[int, ...] = ()
    concealed: bool = False

    @property
    def claims(self) -> np.ndarray:
        """float64 (N, 2): the seconds that each window stands for, from and to."""
        windows = np.array([(each.start, each.end) for each in self.windows], np.float64)
        middles = windows.mean(axis=1)
        between = (middles[1:] + middles[:-1]) / 2
        claims = windows.copy()
        claims[1:, 0] = np.maximum(windows[1:, 0], between)
        claims[:-1, 1] = np.minimum(windows[:-1, 1], between)
        return claims

    def segments(self, *, threshold: float = 0.0, min_length: float = 0.0) -> list[Segment]:
        """Windows of one class merged, in order of time; the rule is at the top of this file.

        Args:
            threshold: smallest probability of a window.
            min_length: shortest segment, in seconds.
        """
        claims = self.claims
        gap = np.append(False, claims[1:, 0] - claims[:-1, 1] > 1e-6)  # before each window
        counts = self.probabilities >= threshold  # (N, K)
        if not self.multi_label:  # of several labels every one counts, not only the most probable
            best = np.zeros_like(counts)
            best[np.arange(len(best)), self.probabilities.argmax(axis=1)] = True
            counts &= best
        segments = []
        for k in np.flatnonzero(counts.any(axis=0)).tolist():
            counted = counts[:, k]
            goes_on = np.append(False, counted[1:] & counted[:-1]) & ~gap
            begins = np.flatnonzero(counted & ~goes_on)
            ends = np.flatnonzero(counted & ~np.append(goes_on[1:], False)) + 1
            for first, last in zip(begins.tolist(), ends.tolist(), strict=True):
                start, end = float(claims[first, 0]), float(claims[last - 1, 1])
                if end - start + 1e-9 >= min_length:
                    mean = float(self.probabilities[first:last, k].mean())
                    segments.append(Segment(start, end, self.class_names[k], mean, last - first))
        return sorted(segments, key=lambda segment: (segment.start, -segment.confidence))

    def top(self, window: int, count: int) -> list[tuple[str, float]]:
        """The most probable classes of a window."""
        order = np.argsort(-self.probabilities[window], kind="stable")[:count]
        return [(self.class_names[k], float(self.probabilities[window, k])) for k in order]


def place_windows(times: np.ndarray, duration: float, *, window: float, hop: float) -> list[Window]:
    """Windows every ``hop`` seconds from the first frame on; a last one ends with the video.

    A video that is shorter than a window has one window: all of it. A window in which no frame
    appears (a gap in a variable frame rate) shows the frame that is on display.

    Raises:
        VideoNLError: a window or hop that is no number of seconds, or below a millisecond.
    """
    for name, value in (("window", window), ("hop", hop)):
        if not (np.isfinite(value) and value >= CLOSE):
            raise VideoNLError(f"{name} must be at least {CLOSE} s, got {value:g} s")
    begin = float(times[0])
    last = duration - window
    if last - begin <= CLOSE:
        return [Window(begin, duration, 0, len(times))]
    starts = [begin + k * hop for k in range(int((last - begin + CLOSE) / hop) + 1)]
    if starts[-1] + CLOSE < last:
        starts.append(last)
    begins = np.searchsorted(times, np.array(starts) - CLOSE)
    ends = np.searchsorted(times, np.array(starts) + window - CLOSE)
    windows = []
    for start, first, end in zip(starts, begins.tolist(), ends.tolist(), strict=True):
        first = max(0, end - 1) if first >= end else first
        windows.append(Window(start, min(start + window, duration), first, max(end, first + 1)))
    return windows


def timeline_of(
    predictor: Predictor,
    video: Given,
    *,
    fps: float | None = None,
    window: float | None = None,
    hop: float | None = None,
    on_windows: Callable[[int, int], None] | None = None,
) -> Timeline:
    """Classify every window of a video.

    Args:
        predictor: classifies the windows.
        video: a path, or anything that ``Predictor.predict`` takes.
        fps: frames per second of frames in memory.
        window: length of a window in seconds; None: that of a clip of the network, or, where clips
            are spread over a video, that of the training videos.
        hop: seconds from the start of one window to the next; None: half a window, at most 1.
        on_windows: called with (windows done, windows in all), for a progress bar.

    Raises:
        VideoError: the file cannot be read.
        VideoNLError: window or hop are too short.
    """
    with predictor.opened(video, fps=fps, forgiving=True) as source:
        preprocessing = predictor.shown(source)
        times, duration = source.times(), source.end
        span = preprocessing.seconds(source.fps)
        dense = preprocessing.sampling == "dense"
        if math.isinf(span):  # spread over videos whose length is unknown
            span = duration - float(times[0])
        if window is not None and dense and window < (1 - NOTICEABLE) * span:
            predictor.note(
                f"a window of {window:g} s is shorter than a clip of the network, {span:.2f} s: "
                f"{HOW_ENDS[preprocessing.short_video]} (by default, a window is as long as a "
                "clip)"
            )
        window = span if window is None else window
        hop = min(1.0, window / 2) if hop is None else hop
        windows = place_windows(times, duration, window=window, hop=hop)
        damage = Damage(conceal=predictor.conceal)
        wanted = [each.indices(times, preprocessing) for each in windows]
        kept = damage.kept(clips_in_order(source, wanted, preprocessing=preprocessing))

        def queued() -> Iterator[Callable[[], Tensor]]:
            while chunk := list(islice(kept, predictor.max_views_per_forward)):
                yield predictor.queued(torch.stack([clip for _, clip in chunk]))
                if on_windows:
                    on_windows(chunk[-1][0] + 1, len(windows))

        scores = [answer.numpy() for answer in behind(queued())]
    if said := damage.tell(name_of(video), len(windows)):
        predictor.note(said)
    protocol = {**predictor.protocol((1, 1)), "window_seconds": window, "hop_seconds": hop}
    return Timeline(
        path=name_of(video),
        class_names=predictor.class_names,
        windows=[w for number, w in enumerate(windows) if number not in damage.left_out],
        probabilities=np.concatenate(scores),
        duration=duration,
        multi_label=predictor.multi_label,
        about={"model": predictor.made_by(), "protocol": protocol},
        damaged=[windows[number] for number in sorted(damage.left_out)],
        damaged_frames=tuple(damage.frames),
        concealed=predictor.conceal and bool(damage.windows),
    )
