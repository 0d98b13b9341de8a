"""The frame rates of a data set: what most videos have, and which have others."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from videonl.errors import VideoNLError
from videonl.video.preprocessing import SENSIBLE_RATES, rates_differ
from videonl.video.video import open_video

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
        """The rate that is like most others' and most common; None of no videos."""
        if not self.counts:
            return None
        return max(self.counts, key=lambda rate: (len(self) - self.others(rate).total(),
                                                  self.counts[rate], -rate))  # fmt: skip

    def __len__(self) -> int:
        return self.counts.total()

    def others(self, rate: float) -> Counter[float]:
        """Those that differ noticeably from a rate."""
        return Counter({own: n for own, n in self.counts.items() if rates_differ(own, rate)})

    def text(self, rate: float | None) -> str:
        """What to say of them, for a network that is trained at a rate; one sentence."""
        if rate is None:
            return "none of the videos that were looked at tells its frame rate"
        others = self.others(rate)
        if not others:
            return f"{rate:g} frames per second"
        listed = ", ".join(f"{n} at {own:g}" for own, n in others.most_common(FEW))
        more = ", ..." if len(others) > FEW else ""
        return (
            f"{rate:g} frames per second in training; of {len(self)} videos looked at "
            f"{listed}{more}: clips of those are taken by time (--data.fps keep counts frames)"
        )


def look_at_rates(paths: Sequence[str]) -> Rates:
    """The rates of some of these videos; files that can not be read are left out."""
    step = max(1, -(-len(paths) // LOOKED_AT))
    counts: Counter[float] = Counter()
    low, high = SENSIBLE_RATES
    for path in paths[::step]:
        try:
            with open_video(path) as video:
                rate = round(video.fps, 3)
        except (VideoNLError, OSError):
            continue
        if low <= rate <= high:
            counts[rate] += 1
    return Rates(counts)
