"""Windows merged into segments.

The rule: a window speaks for the time nearest to its middle, from half-way to the middle of the
window before to half-way to the middle of the next one, and never for time outside of it: between
windows that leave gaps nothing is said. Windows that follow each other without a gap and have the
same most probable class become one segment, if that class has at least ``threshold`` in each. Its
confidence is the mean probability over its windows.
Segments shorter than ``min_length`` are left out. With several labels at a time, every class that
reaches the threshold in a window counts, so segments of different classes may overlap.
"""

from dataclasses import dataclass

import numpy as np


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


def claims_of(spans: list[tuple[float, float]]) -> np.ndarray:
    """float64 (N, 2): the seconds that each window speaks for, from and to."""
    windows = np.array(spans, np.float64)
    middles = windows.mean(axis=1)
    between = (middles[1:] + middles[:-1]) / 2
    claims = windows.copy()
    claims[1:, 0] = np.maximum(windows[1:, 0], between)
    claims[:-1, 1] = np.minimum(windows[:-1, 1], between)
    return claims


def merge(
    spans: list[tuple[float, float]],
    probabilities: np.ndarray,
    class_names: list[str],
    *,
    threshold: float = 0.0,
    min_length: float = 0.0,
    multi_label: bool = False,
) -> list[Segment]:
    """Segments in order of time; the rule stands at the head of this file.

    Args:
        spans: (start, end) of each window, seconds, in order.
        probabilities: float (N, K).
        class_names: K of them.
        threshold: least probability of a window.
        min_length: least length of a segment, seconds.
        multi_label: count every class that reaches the threshold, not only the most probable.
    """
    claims = claims_of(spans)
    gap = np.append(False, claims[1:, 0] - claims[:-1, 1] > 1e-6)  # before each window
    counts = probabilities >= threshold  # (N, K)
    if not multi_label:
        best = np.zeros_like(counts)
        best[np.arange(len(best)), probabilities.argmax(axis=1)] = True
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
                mean = float(probabilities[first:last, k].mean())
                segments.append(Segment(start, end, class_names[k], mean, last - first))
    return sorted(segments, key=lambda segment: (segment.start, -segment.confidence))
