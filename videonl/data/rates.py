"""The frame rates of a data set: the most common one and others; and the size of its pictures."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median_low
from typing import TypeVar

from videonl.data.facts import Facts
from videonl.errors import VideoNLError
from videonl.shares import counted
from videonl.video.clock import MOST_SECONDS
from videonl.video.preprocessing import SENSIBLE_RATES, rates_differ
from videonl.video.video import Video, open_video

LOOKED_AT = 60  # videos that are opened, spread over the list: some ten milliseconds each
FEW = 4  # rates that are listed


@dataclass(frozen=True)
class Rates:
    """Frames per second of some videos.

    Attributes:
        counts: rate -> number of videos.
    """

    counts: Counter[float]

    @property
    def usual(self) -> float | None:
        """The most common rate, similar rates counted together; None without videos."""
        if not self.counts:
            return None
        return max(self.counts, key=lambda rate: (len(self) - self.others(rate).total(),
                                                  self.counts[rate], -rate))  # fmt: skip

    def __len__(self) -> int:
        return self.counts.total()

    def others(self, rate: float) -> Counter[float]:
        """Rates that noticeably differ from a given one."""
        return Counter({own: n for own, n in self.counts.items() if rates_differ(own, rate)})

    def text(self, rate: float | None) -> str:
        """One sentence about them, for a network that is trained at a rate."""
        if rate is None:
            return "none of the videos that were looked at states its frame rate"
        others = self.others(rate)
        if not others:
            return f"{rate:g} frames per second"
        listed = ", ".join(f"{n} at {own:g}" for own, n in others.most_common(FEW))
        more = ", ..." if len(others) > FEW else ""
        return (
            f"{rate:g} frames per second in training; of {counted(len(self), 'video')} looked at "
            f"{listed}{more}: clips of those are sampled by time (--data.fps keep counts frames)"
        )


T = TypeVar("T")


def rates_of(facts: Iterable[Facts]) -> Rates:
    """The rates of videos whose headers were read, without impossible ones."""
    low, high = SENSIBLE_RATES
    rates = (round(known.rate, 3) for known in facts)
    return Rates(Counter(rate for rate in rates if low <= rate <= high))


def usual_aspect(paths: Sequence[str]) -> float:
    """Width / height of a median one of some of these videos, as shown; 1 without videos."""
    return _middle(_look_at(paths, lambda video: video.width / video.height)) or 1.0


def usual_seconds(paths: Sequence[str]) -> float | None:
    """Median duration of some of these videos; None if no header states it."""
    lengths = _look_at(paths, lambda video: round(float(video.end - video.times([0])[0]), 3))
    return _middle([length for length in lengths if 0 < length < MOST_SECONDS])


def _middle(values: Sequence[float]) -> float | None:
    """The lower median: a value that occurs."""
    return median_low(values) if values else None


def _look_at(paths: Sequence[str], ask: Callable[[Video], T]) -> list[T]:
    """The answers of some of these videos, spread over the list."""
    step = max(1, -(-len(paths) // LOOKED_AT))
    found = []
    for path in paths[::step]:
        with suppress(VideoNLError, OSError), open_video(path) as video:
            found.append(ask(video))
    return found
