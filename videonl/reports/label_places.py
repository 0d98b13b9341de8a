"""Where names can stand beside their markers without covering each other: plain geometry."""

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]  # left, bottom, right, top (or top, bottom: all the same)
Offset = tuple[float, float]

# Steps from the marker to the near edge of the name, in units; nearest first.
STEPS = [
    (side * dx, up * dy)
    for dy in (0, 9, 18, 28, 40, 54, 72, 92)
    for dx in (9, 26, 46)
    for up in ((1, -1) if dy else (1,))
    for side in (1, -1)
]
OUTSIDE = 10  # how many covered names are as bad as one that leaves the frame


def overlap(first: Box, second: Box) -> bool:
    """Whether two boxes share any area."""
    return (
        first[0] < second[2]
        and second[0] < first[2]
        and first[1] < second[3]
        and second[1] < first[3]
    )


def label_box(marker: Offset, offset: Offset, size: tuple[float, float]) -> Box:
    """The box of a name: it begins at the offset where that is to the right, else it ends there."""
    x, y = marker[0] + offset[0], marker[1] + offset[1]
    left = x if offset[0] > 0 else x - size[0]
    return left, y - size[1] / 2, left + size[0], y + size[1] / 2


def distance_to_line(point: Offset, start: Offset, vector: Offset) -> float:
    """How far a point is from the straight line of a vector's length that begins at ``start``."""
    x, y = point[0] - start[0], point[1] - start[1]
    length = vector[0] ** 2 + vector[1] ** 2
    along = max(0.0, min(1.0, (x * vector[0] + y * vector[1]) / length)) if length else 0.0
    return math.hypot(x - along * vector[0], y - along * vector[1])


def place_labels(
    markers: Sequence[Offset],
    sizes: Sequence[tuple[float, float]],
    *,
    frame: Box,
    unit: float = 1.0,
) -> list[Offset]:
    """Choose a place for every name, one after the other, the nearest that is free.

    Args:
        markers: (x, y) of the markers.
        sizes: (width, height) of the names.
        frame: where the names must stay.
        unit: pixels of one unit of ``STEPS``; 1 for a picture at 72 dots per inch.

    Returns:
        Per name the offset from its marker to the near edge of its box, at middle height.
    """
    half = 4.5 * unit
    taken: list[Box] = [(x - half, y - half, x + half, y + half) for x, y in markers]
    chosen: list[Offset] = [(0.0, 0.0)] * len(markers)
    for index in sorted(range(len(markers)), key=lambda i: (-markers[i][1], markers[i][0])):
        best = None
        for step in STEPS:
            offset = (step[0] * unit, step[1] * unit)
            box = label_box(markers[index], offset, sizes[index])
            inside = frame[0] <= box[0] and box[2] <= frame[2]
            inside = inside and frame[1] <= box[1] and box[3] <= frame[3]
            clashes = sum(overlap(box, other) for other in taken) + OUTSIDE * (not inside)
            clashes += sum(  # the line to the name must not seem to begin at another marker
                distance_to_line(other, markers[index], offset) < half
                for place, other in enumerate(markers)
                if place != index and math.dist(other, markers[index]) >= half
            )
            if best is None or clashes < best[0]:
                best = (clashes, offset, box)
            if clashes == 0:
                break
        assert best is not None
        chosen[index] = best[1]
        taken.append(best[2])
    return chosen
