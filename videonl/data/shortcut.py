"""Can the class be predicted without looking at a picture?

Clips of one class are often cut, scaled or encoded alike. A network may then learn properties of
the file instead of what happens in it. How well size, rate, length, codec and file size alone
predict the class is measured with nearest neighbours (Cover and Hart 1967), never from videos of
the same group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from videonl.data.facts import Facts, Look, look_at
from videonl.data.records import Record
from videonl.data.splits import grouped
from videonl.shares import accuracy, counted, percent, wilson_interval

NEIGHBOURS = 5
MOST = 4000  # videos of which every pair is compared
FACTS = ("size", "rate", "length", "codec", "file size")


@dataclass(frozen=True)
class Shortcut:
    """How well facts about the files predict the class.

    Attributes:
        right: videos whose class the neighbours predict.
        videos: videos that were tested.
        constant: share of the most frequent class among them.
        alone: fact -> share of right answers by it alone.
        words: which videos were used, and which count as neighbours.
    """

    right: int
    videos: int
    constant: float
    alone: dict[str, float] = field(default_factory=dict)
    words: str = ""

    @property
    def share(self) -> float:
        """Share of right answers by all facts together."""
        return self.right / self.videos

    @property
    def shown(self) -> bool:
        """Whether it is significantly above the constant answer (Wilson's interval)."""
        return wilson_interval(self.right, self.videos)[0] > self.constant

    def as_dict(self) -> dict[str, object]:
        """Primitives, for JSON."""
        return {
            "right": self.right,
            "videos": self.videos,
            "value": self.share,
            "constant": self.constant,
            "alone": self.alone,
            "text": self.text(),
        }

    def text(self) -> str:
        """One sentence."""
        told, constant = accuracy(self.share, self.videos), percent(self.constant, self.videos)
        found = (
            f"size, rate, length, codec and file size alone predict the class of {told} of "
            f"{counted(self.videos, 'video')}, the most frequent class is right for {constant}"
        )
        verdict = (
            ": a network may score as much without seeing what happens"
            if self.shown
            else ": no shortcut found"
        )
        return f"{found}{verdict} ({self.words})"


def shortcut_of(
    root: str,
    records: Sequence[Record],
    *,
    learnt: Sequence[Record] = (),
    group: str | None = None,
    look: Look | None = None,
) -> Shortcut | str:
    """How well facts of the files predict the class of videos.

    Args:
        root: the data set's folder.
        records: videos to test, one class each.
        learnt: videos whose class is known to the predictor; none: all others of ``records`` that
            belong to other groups.
        group: see ``videonl.data.splits.grouped``.
        look: known facts; None: the headers of some videos are read, for a few seconds.

    Returns:
        The measure, or the reason why there is none.

    Raises:
        DatasetError: an invalid pattern, or one that does not match some path.
    """
    both = [*records, *learnt]
    if any(len(record.labels) != 1 for record in both):
        return "the shortcut is not measured: some video has no class, or several"
    look = look or _look(records, learnt)
    asked = [r for r in records if r.path in look.facts][:MOST]
    known = [r for r in learnt if r.path in look.facts][:MOST]
    if learnt:
        same, whose = None, "neighbours are training videos"
    else:
        known = asked
        groups, what = grouped(asked, root, group=group)
        number = {id(r): n for n, members in enumerate(groups.values()) for r in members}
        same = np.array([number[id(r)] for r in asked])
        whose = f"neighbours outside of its own group: {what}"
    names = {r.labels[0] for r in known}
    if len(names) < 2 or len(asked) < 2:
        return f"the shortcut is not measured: too few videos of several classes ({look.how})"
    columns = _columns([look.facts[r.path] for r in (*asked, *known)])
    truth, teachers = (np.array([r.labels[0] for r in part]) for part in (asked, known))
    right = {name: _right(columns[name], truth, teachers, same) for name in (*FACTS, "all")}
    return Shortcut(
        right.pop("all"),
        len(asked),
        float(np.bincount(truth).max() / len(truth)),
        {name: count / len(asked) for name, count in right.items()},
        f"{look.how}; {NEIGHBOURS} {whose}",
    )


def _look(records: Sequence[Record], learnt: Sequence[Record]) -> Look:
    """Look at both in equal parts, so that a large training set leaves time for the others."""
    asked, known = (look_at([r.path for r in part], most=MOST // 2) for part in (records, learnt))
    how = asked.how + (f" and of training's: {known.how}" if learnt else "")
    return Look({**asked.facts, **known.facts}, asked.asked + known.asked, how)


def _columns(facts: Sequence[Facts]) -> dict[str, np.ndarray]:
    """Fact -> (N, columns), each number as its rank in [0, 1], so that units do not matter."""
    codecs = sorted({known.codec for known in facts})
    found = {
        "size": np.stack([_ranks([f.width for f in facts]), _ranks([f.height for f in facts])], 1),
        "rate": _ranks([f.rate for f in facts])[:, None],
        "length": _ranks([f.seconds for f in facts])[:, None],
        "codec": np.array([[f.codec == codec for codec in codecs] for f in facts], np.float64),
        "file size": _ranks([f.size for f in facts])[:, None],
    }
    return {**found, "all": np.concatenate(list(found.values()), 1)}


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Mean rank of each value, over their number."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    middle: np.ndarray = (np.cumsum(counts) - counts / 2) / len(values)
    return middle[place]


def _right(
    columns: np.ndarray, truth: np.ndarray, teachers: np.ndarray, same: np.ndarray | None
) -> int:
    """Count the videos whose nearest neighbours vote for their class; nearer ones count more.

    Many videos may be equally near (one rate, one codec): all of them vote then. Votes are weighted
    so that a class whose videos are left out, being of the same group, loses no weight: otherwise a
    fact that is the same everywhere would score less than the constant answer.
    """
    asked, known = columns[: len(truth)], columns[len(truth) :]
    classes = int(max(truth.max(), teachers.max())) + 1
    votes_of = np.eye(classes)[teachers]
    total = votes_of.sum(0)
    right = 0
    for begin in range(0, len(asked), 256):
        part = slice(begin, begin + 256)
        distance = ((asked[part, None] - known[None]) ** 2).sum(-1)
        weight: np.ndarray | float = 1.0
        if same is not None:
            apart = same[part, None] != same[None]
            distance[~apart] = np.inf
            weight = total / np.maximum(apart @ votes_of, 1)
        rank = min(NEIGHBOURS, distance.shape[1]) - 1
        last = np.partition(distance, rank, axis=1)[:, rank : rank + 1]
        near = (distance <= last) & np.isfinite(distance)
        votes = (near / (0.05 + np.sqrt(np.where(near, distance, 1)))) @ votes_of * weight
        right += int(((votes.argmax(1) == truth[part]) & near.any(1)).sum())
    return right
