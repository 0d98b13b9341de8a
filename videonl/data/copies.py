"""Videos that show nearly the same pictures: copies, other sizes or encodings of one recording."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

# Cosine of two videos' brightness steps (videonl.video.inspection). Copies in another encoding, at
# half the size or half the rate lie clearly above it, different clips of one fixed camera below.
ALIKE = 0.7
PLAIN = 0.02  # share of pixels that differ from their neighbour, below which nothing is visible
BLOCK = 2048

Pair = tuple[str, str, float]


def near_copies(pictures: Mapping[str, str], splits: Mapping[str, str]) -> tuple[list[Pair], int]:
    """Pairs of videos in different splits that show nearly the same, the most similar first.

    Args:
        pictures: path -> ``Finding.pictures``.
        splits: path -> its split. With one split only, pairs within it are looked for.

    Returns:
        (pairs with their similarity up to 1, videos that are too plain to be compared).
    """
    paths = [path for path in pictures if path in splits and pictures[path]]
    steps = {path: _steps(pictures[path]) for path in paths}
    seen = [path for path in paths if np.count_nonzero(steps[path]) >= PLAIN * steps[path].size]
    of_split: dict[str, list[str]] = {}
    for path in seen:
        of_split.setdefault(splits[path], []).append(path)
    found: list[Pair] = []
    for one, two in combinations(of_split.values(), 2) if len(of_split) > 1 else [(seen, seen)]:
        found += _alike(steps, one, two)
    if len(of_split) < 2:
        found = [pair for pair in found if pair[0] < pair[1]]
    return sorted(found, key=lambda pair: (-pair[2], pair)), len(paths) - len(seen)


def _steps(pictures: str) -> np.ndarray:
    """int8: 1 where a pixel is brighter than its neighbour, -1 where darker."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(pictures), np.uint8)).astype(np.int8)
    brighter, darker = bits.reshape(2, -1)
    steps: np.ndarray = brighter - darker
    return steps


def _alike(steps: Mapping[str, np.ndarray], one: list[str], two: list[str]) -> Iterator[Pair]:
    for first in range(0, len(one), BLOCK):
        rows = _directions(steps, one[first : first + BLOCK])
        for second in range(0, len(two), BLOCK):
            likeness = rows @ _directions(steps, two[second : second + BLOCK]).T
            for a, b in np.argwhere(likeness >= ALIKE):
                yield one[first + a], two[second + b], min(1.0, float(likeness[a, b]))


def _directions(steps: Mapping[str, np.ndarray], paths: list[str]) -> np.ndarray:
    block = np.stack([steps[path] for path in paths]).astype(np.float32)
    directions: np.ndarray = block / np.linalg.norm(block, axis=1, keepdims=True)
    return directions
