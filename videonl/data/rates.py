"""The frame rates of a data set: what most videos have, and which have others."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from videonl.data.facts import Facts
from videonl.video.preprocessing import SENSIBLE_RATES, rates_differ

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


def rates_of(facts: Iterable[Facts]) -> Rates:
    """The rates of videos whose headers were read; what no recording has is left out."""
    low, high = SENSIBLE_RATES
    rates = (round(known.rate, 3) for known in facts)
    return Rates(Counter(rate for rate in rates if low <= rate <= high))
