"""What one position of a non-local block attends to, in the units of the video file."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videonl.attention.clip import AttendedClip
from videonl.attention.geometry import Lattice


@dataclass(frozen=True)
class Place:
    """A position of a feature map in the file.

    Attributes:
        time: place in the clip, in frames; 2.5 lies between its third and its fourth frame.
        frame: number in the file of the frame on display then (the earlier of two).
        seconds: the time in the file.
        y, x: centre of the position in the file's pictures, in pixels, after rotation.
        weight: f(x_i, x_j)/C(x), as the block computes it; None for the query itself.
    """

    time: float
    frame: int
    seconds: float
    y: float
    x: float
    weight: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Primitives, rounded to what can be seen."""
        known = {
            "clip_frame": round(self.time, 3),
            "frame": self.frame,
            "seconds": round(self.seconds, 6),
            "y": round(self.y, 2),
            "x": round(self.x, 2),
        }
        return known if self.weight is None else {**known, "weight": self.weight}


SATURATED = 0.99  # of a row's weight on one key
NEARLY_EVEN = 0.98  # of the entropy of equal weights
KINDS = {
    "saturated": "saturated: one key has more than 99 % of the weight",
    "nearly even": "nearly even: the entropy is within 2 % of that of equal weights",
    "zero": "zero: no key has any weight",
}


@dataclass(frozen=True)
class Spread:
    """How far a row of weights spreads, over the shares p_j = |w_j| / Σ|w|.

    A softmax sums to 1 already; the weights of the other affinities (f / C, of either sign) are
    converted to shares by their size.

    Attributes:
        entropy: -Σ p log p in nats; 0 where one key has everything.
        relative: entropy / log M: 1 where all M keys that can be reached weigh the same.
        largest: the largest share.
        pixels: mean distance from the query in space, Σ p d, in pixels of the file.
        diagonals: the same as a share of the diagonal of the file's picture.
        seconds: mean distance from the query in time.
        kind: "saturated", "nearly even" or "zero" (see ``KINDS``), "" for all other rows.
    """

    entropy: float
    relative: float
    largest: float
    pixels: float
    diagonals: float
    seconds: float
    kind: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Primitives."""
        return {
            "entropy_nats": self.entropy,
            "entropy_relative": self.relative,
            "largest_share": self.largest,
            "reach_pixels": self.pixels,
            "reach_of_diagonal": self.diagonals,
            "reach_seconds": self.seconds,
            "row": self.kind or None,
        }


@dataclass(frozen=True)
class Moved:
    """How the query changes the score of the most probable class.

    Attributes:
        name: of the class.
        score: its logit for this clip.
        change: how much lower it is without what the block adds at the query (z_i = x_i there).
    """

    name: str
    score: float
    change: float

    def as_dict(self) -> dict[str, Any]:
        """Primitives."""
        return {"class": self.name, "logit": self.score, "change": self.change}


@dataclass(frozen=True)
class AttentionMap:
    """One row of a block's weights, with its places in the video.

    Attributes:
        path: the file.
        block: name of the block.
        affinity: "gaussian", "embedded_gaussian", "dot_product", "concatenation" or a class name.
        clip: the frames.
        keys: lattice of the keys in the clip.
        weights: float32 (T', H', W') over the keys; zero where the block cannot attend.
        reachable: bool (T', H', W'): the keys of the query's temporal group, frame or place.
        query: the position of the query.
        chosen: how the query was chosen, a sentence.
        strongest: the keys of the largest |weight|, the largest first.
        spread: entropy and reach.
        classes: (name, probability) of this clip alone, the most probable first.
        model: name, checkpoint and its SHA-256.
        truth: the class given by the file's folder; None if it gives none.
        moved: how the query changes the score; None if the query was given.
    """

    path: str
    block: str
    affinity: str
    clip: AttendedClip
    keys: Lattice
    weights: Tensor
    reachable: Tensor
    query: Place
    chosen: str
    strongest: tuple[Place, ...]
    spread: Spread
    classes: tuple[tuple[str, float], ...]
    model: dict[str, object]
    truth: str | None = None
    moved: Moved | None = None

    @property
    def signed(self) -> bool:
        """Whether there are negative weights (dot product)."""
        return bool((self.weights < 0).any())

    @property
    def shown_as(self) -> str:
        """The meaning of the colours, for the figure."""
        if self.affinity in ("gaussian", "embedded_gaussian"):
            return "softmax weights, which sum to 1"
        if self.affinity == "dot_product":
            return "weights of either sign, not normalised: red positive, blue negative"
        if self.affinity == "concatenation":
            return "weights of 0 or more, not normalised"
        return "weights as the block computes them, red positive, blue negative"

    def as_dict(self) -> dict[str, Any]:
        """Primitives for JSON: everything but the pictures."""
        clip = self.clip
        return {
            "path": self.path,
            "model": self.model,
            "block": self.block,
            "affinity": self.affinity,
            "shown_as": self.shown_as,
            "chosen": self.chosen,
            "query": self.query.as_dict(),
            "strongest": [place.as_dict() for place in self.strongest],
            **self.spread.as_dict(),
            "keys_in_reach": int(self.reachable.sum()),
            "classes": [{"class": name, "probability": p} for name, p in self.classes],
            "true_class": self.truth,
            "moves_score": self.moved and self.moved.as_dict(),
            "clip": {
                "frames": list(clip.indices),
                "seconds": [round(second, 6) for second in clip.seconds],
                "picture": {"height": clip.size[0], "width": clip.size[1]},
                "seen": dict(
                    zip(("top", "left", "bottom", "right"), map(float, clip.region), strict=True)
                ),
            },
            "weights": {"shape": list(self.weights.shape), "values": self.weights.tolist()},
        }


def place_of(
    clip: AttendedClip, lattice: Lattice, index: tuple[int, ...], weight: float | None = None
) -> Place:
    """The place in the file of a position of a lattice."""
    time, row, column = lattice.at(index)
    y, x = clip.to_file(row, column)
    shown = min(max(int(np.floor(time + 1e-9)), 0), len(clip.indices) - 1)
    return Place(time, clip.indices[shown], clip.second(time), y, x, weight)


def strongest_of(
    clip: AttendedClip, keys: Lattice, weights: Tensor, count: int
) -> tuple[Place, ...]:
    """The ``count`` keys of the largest |weight| that are not zero."""
    flat = weights.flatten()
    order = flat.abs().sort(descending=True, stable=True).indices[:count]
    places = []
    for i in order.tolist():
        if flat[i] != 0:
            index = tuple(int(n) for n in np.unravel_index(i, tuple(weights.shape)))
            places.append(place_of(clip, keys, index, float(flat[i])))
    return tuple(places)


def spread_of(
    clip: AttendedClip, keys: Lattice, row: Tensor, reachable: Tensor, query: Place
) -> Spread:
    """Entropy and reach of a row; if all weights are zero, those of equal weights.

    ``row`` (T', H', W') lies on the lattice ``keys``; ``reachable`` is bool, of the same shape.
    """
    shares = shares_of(row, reachable)
    count = int(reachable.sum())
    entropy = float(torch.special.entr(shares).sum())
    times, rows, columns = (
        torch.tensor([keys.offset[d] + keys.stride[d] * i for i in range(keys.shape[d])])
        for d in range(3)
    )
    seconds = torch.tensor([clip.second(float(t)) for t in times], dtype=torch.float64)
    ys = torch.tensor([clip.to_file(float(r), 0)[0] for r in rows], dtype=torch.float64)
    xs = torch.tensor([clip.to_file(0, float(c))[1] for c in columns], dtype=torch.float64)
    far = torch.hypot((ys - query.y)[:, None], (xs - query.x)[None, :])  # (H', W')
    relative = entropy / float(np.log(count)) if count > 1 else 0.0
    largest, pixels = float(shares.max()), float((shares.sum(0) * far).sum())
    kind = "nearly even" if relative >= NEARLY_EVEN else ""
    kind = "saturated" if largest > SATURATED and count > 1 else kind
    return Spread(
        entropy=entropy,
        relative=relative,
        largest=largest,
        pixels=pixels,
        diagonals=pixels / math.hypot(*clip.size),
        seconds=float((shares.sum((1, 2)) * (seconds - query.seconds).abs()).sum()),
        kind=kind if bool((row != 0).any()) else "zero",
    )


def shares_of(row: Tensor, reachable: Tensor) -> Tensor:
    """|w| / Σ|w| in float64 on the CPU; if all are zero, equal shares of the reachable keys."""
    sizes = row.detach().cpu().double().abs()
    total = sizes.sum()
    if float(total) > 0:
        return sizes / total
    inside = reachable.cpu().double()
    return inside / inside.sum()
