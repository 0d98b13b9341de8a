"""The effect of a block: the answers of a network without it, and with only its mean.

Two changes of a block z = x + W_z y, both with unchanged weights:

- removed: z = x;
- mean: z = x + m, with m (C,) the mean of z - x over the positions and views of all videos: the
  block adds a constant, which does not depend on the video.

All networks classify the same views of the same videos, so that their answers are paired.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from videonl.attention.attention import Change, changed
from videonl.inference.engines import TorchEngine
from videonl.inference.predictor import Predictor
from videonl.shares import (
    Score,
    accuracy,
    counted,
    interval_text,
    paired_interval,
    percent,
    points,
)
from videonl.video.views import Views

Variant = tuple[str, str]  # how a block is changed, and which
WHOLE: Variant = ("whole", "")
ALL = "all blocks"


@dataclass
class Answers:
    """The answers of a network and of its changed copies on the same videos.

    Attributes:
        truth: path -> class; None where it is not known.
        given: path -> variant -> (answer, probability of the true class or of that answer).
        unread: paths that could not be read; they count as wrong for every variant.
    """

    truth: dict[str, str | None] = field(default_factory=dict)
    given: dict[str, dict[Variant, tuple[str, float]]] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)

    @property
    def labelled(self) -> list[str]:
        """The videos over which accuracies are computed."""
        return [path for path, name in self.truth.items() if name is not None]

    def right(self, variant: Variant) -> dict[str, bool]:
        """Whether each of the labelled videos was classified rightly."""
        return {
            path: path in self.given and self.given[path][variant][0] == self.truth[path]
            for path in self.labelled
        }

    def changed(self, variant: Variant) -> int:
        """Number of videos whose answer differs from that of the unchanged network."""
        return sum(found[variant][0] != found[WHOLE][0] for found in self.given.values())

    def fall(self, variant: Variant) -> tuple[float, tuple[float, float] | None]:
        """(loss of accuracy, its 95 % interval; None for a single video)."""
        before, after = self.right(WHOLE), self.right(variant)
        lost = sum(before[path] and not after[path] for path in before)
        won = sum(after[path] and not before[path] for path in before)
        total = len(before)
        interval = paired_interval(lost, won, total) if total > 1 else None
        return (lost - won) / total, interval

    def confidence(self, variant: Variant) -> float:
        """Mean probability of the true class (0 for a video that cannot be read)."""
        paths = [path for path in self.labelled if path in self.given]
        return sum(self.given[path][variant][1] for path in paths) / len(self.labelled)

    def as_dict(self, variant: Variant) -> dict[str, Any]:
        """Primitives for JSON; without accuracy where no class is known."""
        found: dict[str, Any] = {}
        total = len(self.labelled)
        if total:
            right = sum(self.right(variant).values())
            found["accuracy"] = Score(right, total).as_dict()
            found["true_class_probability"] = self.confidence(variant)
        if variant == WHOLE:
            return found
        if total:
            value, interval = self.fall(variant)
            found["fall"] = {"value": value, "interval95": interval and list(interval)}
        return {**found, "other_answers": self.changed(variant)}


class Removal:
    """Runs a network and its changed copies, video by video, in two passes over the videos.

    Args:
        predictor: the unchanged network.
        names: of the blocks.
        views: per video; None: as the network was validated.
    """

    def __init__(
        self, predictor: Predictor, names: Sequence[str], *, views: tuple[int, int] | None = None
    ) -> None:
        self.answers = Answers()
        self.views = views
        self._predictor, self._names = predictor, list(names)
        self._sums: dict[str, Tensor] = {}
        self._count = dict.fromkeys(names, 0)
        self._asked = {WHOLE: _twin(predictor, {name: self._noting(name) for name in names})}
        self._asked |= self._each("removed", dict.fromkeys(names, _removed))

    @property
    def groups(self) -> list[str]:
        """The blocks, and all of them together if there are several."""
        return [*self._names, *([ALL] if len(self._names) > 1 else [])]

    def first(self, path: str, views: Views) -> None:
        """Run the unchanged network and those without a block."""
        self.answers.given[path] = self._ask(path, views)

    def begin_means(self) -> None:
        """Start the second pass, in which blocks add their means."""
        means = {name: self._sums[name] / self._count[name] for name in self._names}
        self._asked = self._each("mean", {name: _adds(mean) for name, mean in means.items()})

    def second(self, path: str, views: Views) -> None:
        """Run the networks of which a block adds its mean."""
        self.answers.given[path] |= self._ask(path, views)

    def lose(self, path: str) -> None:
        """Note that a video cannot be read, or not any more."""
        self.answers.unread.add(path)
        self.answers.given.pop(path, None)

    def _each(self, how: str, changes: Mapping[str, Change]) -> dict[Variant, Predictor]:
        found = {(how, name): _twin(self._predictor, {name: changes[name]}) for name in self._names}
        if len(self._names) > 1:
            found[how, ALL] = _twin(self._predictor, changes)
        return found

    def _ask(self, path: str, views: Views) -> dict[Variant, tuple[str, float]]:
        truth, count = self.answers.truth.get(path), len(self._predictor.class_names)
        found = {}
        for variant, predictor in self._asked.items():
            given = predictor.judge(path, views, count, None)
            shares = dict(zip(given.classes, given.probabilities, strict=True))
            found[variant] = given.label, shares[given.label if truth is None else truth]
        return found

    def _noting(self, name: str) -> Change:
        def note(x: Tensor, z: Tensor) -> Tensor:
            added = (z - x).float().flatten(2).mean(2).sum(0).cpu().double()  # (C,)
            self._sums[name] = self._sums.get(name, torch.zeros_like(added)) + added
            self._count[name] += len(x)
            return z

        return note


def _twin(predictor: Predictor, changes: Mapping[str, Change]) -> Predictor:
    """The same predictor with a changed network."""
    twin = copy.copy(predictor)
    twin.model = changed(predictor.model, changes)
    twin.engine = TorchEngine()  # the hooks are Python's
    return twin


def _removed(x: Tensor, _z: Tensor) -> Tensor:
    return x


def _adds(mean: Tensor) -> Change:
    def change(x: Tensor, _z: Tensor) -> Tensor:
        return x + mean.to(x.device, x.dtype).view(1, -1, *(1,) * (x.dim() - 2))

    return change


def fall_words(answers: Answers, variant: Variant) -> str:
    """``"falls by 12 points [3, 21] to 71 %"``, with a remark if it is not significant."""
    total = len(answers.labelled)
    if not total:
        count = len(answers.given)
        return f"{answers.changed(variant)} of {counted(count, 'answer')} changed"
    value, interval = answers.fall(variant)
    after = percent(sum(answers.right(variant).values()) / total, total)
    if interval is None:
        return f"the accuracy on this one video is {after} (one video has no interval)"
    verb = "rises" if value < 0 else "falls"
    low, high = interval if value >= 0 else (-interval[1], -interval[0])
    size = points(abs(value), total, sign=False)
    shown = "" if low > 0 else ", which is not significant"
    if not value:
        return f"the accuracy stays at {after} (within {interval_text(low, high, total)} points)"
    return (
        f"the accuracy {verb} by {size} points {interval_text(low, high, total)} to {after}{shown}"
    )


def accuracy_table(answers: Answers, groups: Sequence[str]) -> list[list[str]]:
    """Rows of cells: the whole network, then every block removed and replaced by its mean."""
    total = len(answers.labelled)
    head = ["network", *(["accuracy", "fall in points"] if total else []), "other answers"]
    rows = [head]
    count = len(answers.given)
    whole = ["whole"]
    if total:
        whole += [accuracy(sum(answers.right(WHOLE).values()) / total, total), ""]
    rows.append([*whole, ""])
    for name in groups:
        for how, words in (("removed", f"without {name}"), ("mean", f"mean of {name}")):
            variant = how, name
            row = [words]
            if total:
                value, interval = answers.fall(variant)
                right = sum(answers.right(variant).values()) / total
                between = f" {interval_text(*interval, total)}" if interval else ""
                row += [accuracy(right, total), points(value, total) + between]
            rows.append([*row, f"{answers.changed(variant)} of {count}"])
    return rows
