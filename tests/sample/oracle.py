"""Who sees both tracks of a sample clip knows its relation."""

import math

import numpy as np


def relation_of(tracks: np.ndarray) -> str:
    """The oracle: the relation that two tracks, float (2, frames, 2), stand in."""
    (ax, ay), (bx, by) = tracks[:, -1] - tracks[:, 0]
    turn = math.degrees(math.atan2(ax * by - ay * bx, ax * bx + ay * by)) % 360
    quarter = round(turn / 90)
    if abs(turn - 90 * quarter) > 12.5:
        return "mirror"
    return ("same", "perpendicular", "opposite", "perpendicular")[quarter % 4]
