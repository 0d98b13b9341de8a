"""Windows merged into segments.

The rule: a window speaks for the time nearest to its middle, from half-way to the middle of the
window before to half-way to the middle of the next one; the first from the begin of the video, the
last to its end. Neighbouring windows with the same most probable class become one segment, if that
class has at least ``threshold`` in each. Its confidence is the mean probability over its windows.
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


def edges_of(spans: list[tuple[float, float]]) -> list[float]:
    """N + 1 seconds: window ``i`` speaks for ``edges[i]`` to ``edges[i + 1]``."""
    middles = np.array([(start + end) / 2 for start, end in spans])
    between = ((middles[1:] + middles[:-1]) / 2).tolist()
    return [spans[0][0], *between, spans[-1][1]]


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
    edges = edges_of(spans)
    counts = probabilities >= threshold  # (N, K)
    if not multi_label:
        best = np.zeros_like(counts)
        best[np.arange(len(best)), probabilities.argmax(axis=1)] = True
        counts &= best
    segments = []
    for k in np.flatnonzero(counts.any(axis=0)).tolist():
        steps = np.diff(np.concatenate(([0], counts[:, k].astype(np.int8), [0])))
        begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
        for first, last in zip(begins.tolist(), ends.tolist(), strict=True):
            if edges[last] - edges[first] + 1e-9 >= min_length:
                mean = float(probabilities[first:last, k].mean())
                segments.append(
                    Segment(edges[first], edges[last], class_names[k], mean, last - first)
                )
    return sorted(segments, key=lambda segment: (segment.start, -segment.confidence))
