"""The sample data set: two moving bodies; the class cannot be seen from one of them alone.

The class of a clip is the relation between the directions in which two bodies move (same, opposite,
perpendicular, mirror), or that between their hues. Everything about one body (start, direction,
speed, size, shape, colour) has the same distribution in every class, so that only a network that
relates two distant places of the picture (and of directions, over several frames) can tell the
classes apart.

Why this holds exactly: all numbers of a scene are drawn without looking at the class, save one: the
second body's direction (or hue), which is the first body's taken through a map (a turn or a
reflection) that keeps the distribution of directions as it is. Where the bodies are in the middle
of the clip (so also how far apart, and along which axis) is drawn independently of the directions.

Relations of motion *and* place (meet, part, chase) are left out on purpose: in a bounded picture
one body gives them away, since a body near the left border that moves left can meet nobody.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from videonl.errors import DatasetError

SPLITS = ("train", "val", "test")
SHAPES = ("disc", "square", "diamond")
RELATED = ("motion", "colour")
FPS = 16

# Relation -> direction of the second body, from the first one's and a random sign.
RELATIONS: dict[str, Callable[[float, int], float]] = {
    "same": lambda angle, _: angle,
    "opposite": lambda angle, _: angle + math.pi,
    "perpendicular": lambda angle, sign: angle + sign * math.pi / 2,
    "mirror": lambda angle, _: math.pi - angle,
}
# Directions lie within 10 degrees of the odd multiples of 22.5: a set that all four maps above
# keep, and in which a mirrored direction is never near one that another map gives.
_ARCS, _ARC = 8, math.radians(10)

# As fractions of the frame, at scale 1: how far a body travels in a clip, and its radius.
_TRAVEL, _RADIUS = (0.26, 0.34), (0.09, 0.11)

_MOST = 2**28  # pixels of a clip, which is drawn as a whole
_DARKER = 70  # steps of luma


@dataclass(frozen=True)
class SampleParameters:
    """The parameters of a sample data set; equal parameters give the same clips.

    Attributes:
        classes: names from ``RELATIONS``; one folder each.
        train: clips in the train split, over all classes.
        val: clips in the val split.
        test: clips in the test split.
        size: height and width of a frame in pixels (even).
        frames: frames per clip.
        distance: lowest and highest distance of the two centres in the middle of the clip, in
            pixels of the frame; uniform in between, equal values fix it.
        seed: any two seeds share no clip; nor do two splits of one seed.
        scale: size and travel of the bodies, 1.0 for a fifth and a third of the frame; small
            bodies leave room for distances that are large beside them.
        gap: frames between the last one of the first body and the first one of the second, which
            is a relation that is far apart in time; None: both are there all the time.
        of: what stands in the relation: ``"motion"``, the directions, or ``"colour"``, the hues,
            which a single frame shows; directions then tell nothing.
    """

    classes: tuple[str, ...] = ("same", "opposite", "perpendicular")
    train: int = 1800
    val: int = 150
    test: int = 600
    size: int = 96
    frames: int = 32
    distance: tuple[float, float] = (12.0, 66.0)
    seed: int = 0
    scale: float = 0.5
    gap: int | None = None
    of: str = "motion"

    def __post_init__(self) -> None:
        unknown = [name for name in self.classes if name not in RELATIONS]
        if unknown or len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise DatasetError(
                f"classes={self.classes}: give two or more different ones of {', '.join(RELATIONS)}"
            )
        if self.size < 32 or self.size % 2:
            raise DatasetError(f"size={self.size}: give an even number of pixels, 32 or more")
        if self.frames < 2:
            raise DatasetError(f"frames={self.frames}: motion needs 2 frames or more")
        if self.frames * self.size**2 > _MOST:
            raise DatasetError(
                f"frames={self.frames} of size={self.size}: a clip has at most {_MOST} pixels; "
                "give fewer or smaller frames"
            )
        if min(self.train, self.val, self.test) < 0 or self.seed < 0:
            raise DatasetError("train, val, test and seed must be numbers of at least 0")
        if not (self.train or self.val or self.test):
            raise DatasetError("train, val and test are 0, so no clip would be written; raise one")
        if not 0.2 <= self.scale <= 1:
            raise DatasetError(f"scale={self.scale:g}: give a number between 0.2 and 1")
        if self.of not in RELATED:
            raise DatasetError(f"of={self.of}: give {' or '.join(RELATED)}")
        if self.gap is not None and not 0 <= self.gap <= self.frames - 4:
            raise DatasetError(
                f"gap={self.gap}: either body needs 2 frames to move; with clips of {self.frames} "
                f"frames give 0 to {self.frames - 4}"
            )
        low, high = self.distance
        if not 0 <= low <= high <= self.max_distance:
            raise DatasetError(
                f"distance={low:g} to {high:g}: with frames of {self.size} pixels and bodies of "
                f"scale {self.scale:g}, give two ascending numbers between 0 and "
                f"{self.max_distance:g}"
            )

    @property
    def shown(self) -> tuple[slice, slice]:
        """The frames in which either body is there; it travels its way within them."""
        if self.gap is None:
            return slice(0, self.frames), slice(0, self.frames)
        part = (self.frames - self.gap) // 2
        return slice(0, part), slice(self.frames - part, self.frames)

    @property
    def margin(self) -> float:
        """Pixels that a place in the middle of the clip keeps from the border.

        Half the travel, the radius and a little more.
        """
        return self.size * (0.29 - 0.28 * (1 - self.scale))

    @property
    def max_distance(self) -> float:
        """The largest distance that still leaves some freedom of place, in pixels."""
        return round(self.size * (0.5 + 0.42 * (1 - self.scale)), 2)

    @classmethod
    def from_dict(cls, values: dict) -> "SampleParameters":
        """The inverse of ``to_dict`` (JSON turns tuples into lists)."""
        known = {field.name for field in fields(cls)}
        kept: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in values.items()
        }
        return cls(**{key: value for key, value in kept.items() if key in known})

    def to_dict(self) -> dict:
        """Primitives only, ready for JSON."""
        values = asdict(self)
        return values | {"classes": list(self.classes), "distance": list(self.distance)}

    def count(self, split: str) -> int:
        """Number of clips of a split."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]


@dataclass(frozen=True)
class Body:
    """One body: place (x, y) in the middle of its frames, pixels per frame, and looks."""

    x: float
    y: float
    dx: float
    dy: float
    radius: float
    shape: str
    luma: int
    blue: int  # chroma Cb
    red: int  # chroma Cr

    def track(self, frames: int) -> np.ndarray:
        """Centre in each of its frames: float (frames, 2) as x, y in pixels."""
        steps = np.arange(frames) - (frames - 1) / 2
        return np.stack([self.x + self.dx * steps, self.y + self.dy * steps], axis=1)


@dataclass(frozen=True)
class Scene:
    """One clip before it is drawn: two bodies, their relation, and a seed for the background."""

    relation: str
    bodies: tuple[Body, Body]
    texture_seed: int

    @property
    def distance(self) -> float:
        """Distance of the two centres in the middle of their frames, in pixels."""
        first, second = self.bodies
        return math.hypot(first.x - second.x, first.y - second.y)


def _direction(rng: np.random.Generator) -> float:
    return (rng.integers(_ARCS) + 0.5) * 2 * math.pi / _ARCS + rng.uniform(-_ARC, _ARC)


def _places(rng: np.random.Generator, distance: float, low: float, high: float) -> np.ndarray:
    """Two places in [low, high]² at that distance, float (2, 2), without regard to directions."""
    while True:
        first = rng.uniform(low, high, 2)
        axis = rng.uniform(0, 2 * math.pi)
        second = first + distance * np.array([math.cos(axis), math.sin(axis)])
        if (second >= low).all() and (second <= high).all():
            return np.stack([first, second])


def _looks(rng: np.random.Generator, size: float, hue: float | None) -> dict[str, Any]:
    """Radius, shape and colour of one body: lighter than any background.

    Where its hue matters it is darker, so that no channel of the picture is cut off at white.
    """
    any_hue, darker = rng.uniform(0, 2 * math.pi), 0 if hue is None else _DARKER
    hue = any_hue if hue is None else hue
    return {
        "radius": rng.uniform(*_RADIUS) * size,
        "shape": SHAPES[rng.integers(len(SHAPES))],
        "luma": int(rng.integers(210, 236)) - darker,
        "blue": int(128 + 40 * math.cos(hue)),
        "red": int(128 + 40 * math.sin(hue)),
    }


def draw_scene(parameters: SampleParameters, relation: str, *, split: str, index: int) -> Scene:
    """Draw one clip's scene; a pure function of its arguments.

    The relation changes nothing but the direction of the second body, or its hue, so that scenes of
    the same seed, split and index in different classes share everything else.

    Args:
        parameters: size, frames, distance and seed.
        relation: a name out of ``RELATIONS``.
        split: "train", "val" or "test"; a part of the random seed.
        index: number of the clip in its split; a part of the random seed.
    """
    rng = np.random.default_rng([parameters.seed, SPLITS.index(split), index])
    distance = rng.uniform(*parameters.distance)
    low, high = parameters.margin, parameters.size - parameters.margin
    places = _places(rng, distance, low, high)
    angle, sign = _direction(rng), 1 if rng.integers(2) else -1
    directions = (angle, RELATIONS[relation](angle, sign))
    hues: tuple[float | None, float | None] = (None, None)
    if parameters.of == "colour":
        hues, directions = directions, (_direction(rng), _direction(rng))
    bodies, frames = [], parameters.shown[0].stop
    for place, direction, hue in zip(places, directions, hues, strict=True):
        speed = rng.uniform(*_TRAVEL) * parameters.scale * parameters.size / frames
        dx, dy = speed * math.cos(direction), speed * math.sin(direction)
        looks = _looks(rng, parameters.scale * parameters.size, hue)
        bodies.append(Body(x=float(place[0]), y=float(place[1]), dx=dx, dy=dy, **looks))
    return Scene(relation, (bodies[0], bodies[1]), int(rng.integers(2**31)))
