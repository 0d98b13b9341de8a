"""The result of a comparison: rows, paired tests, differences and protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import mean, stdev
from typing import Any

from videonl.evaluation.crossed import accuracy_interval
from videonl.shares import wilson_interval

OF_ROW = (  # attributes of a row that its JSON has under their own names
    *("inference", "training", "top1", "top5", "own", "confusion", "unread"),
    *("group", "seed", "learning", "error"),
)


@dataclass
class Row:
    """One network of the table; values that were not measured are None.

    Attributes:
        name: unique in the table.
        model: the network's name.
        checkpoint: the file of its weights, or None for random ones.
        clip_shape: (3, T, H, W) of one view, as counted, timed and tested.
        sampling: how its frames are taken out of a video, for weights that were tested.
        views: (clips, crops) per video.
        params: parameters.
        macs: multiply-accumulates of one view.
        non_local_macs: of those, in the non-local blocks.
        inference: an ``as_dict`` of ``Speed``.
        training: the same, forward and backward.
        top1: as ``Score.as_dict``.
        top5: the same; None with five classes or fewer.
        own: if other views were asked for than those of the network: its own views, and its
            ``top1`` with them if they are no more.
        confusion: ``[truth][answer]`` counts of the videos that were read, in the order of the
            class names.
        unread: counts of the other videos, by their class; they count as wrong.
        answers: (path, truth, answer) of every test video; no answer where it was unreadable.
        group: the entry that the row is one training of, for rows that this run trained.
        seed: of that training.
        learning: diagnosis of that training (``videonl.training.signs``).
        error: why the entry failed, or None.
    """

    name: str
    model: str = ""
    checkpoint: str | None = None
    clip_shape: tuple[int, int, int, int] | None = None
    sampling: str = ""
    views: tuple[int, int] = (1, 1)
    params: int | None = None
    macs: int | None = None
    non_local_macs: int | None = None
    inference: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    top1: dict[str, Any] | None = None
    top5: dict[str, Any] | None = None
    own: dict[str, Any] | None = None
    confusion: list[list[int]] | None = None
    unread: list[int] = field(default_factory=list)
    answers: list[tuple[str, str, str]] = field(default_factory=list)
    group: str = ""
    seed: int | None = None
    learning: str | None = None
    error: str | None = None

    @property
    def flops(self) -> int | None:
        """2 × MACs of one view."""
        return None if self.macs is None else 2 * self.macs

    @property
    def input(self) -> str:
        """``"8x224x224"``: frames, height, width."""
        return "x".join(map(str, self.clip_shape[1:])) if self.clip_shape else ""

    @property
    def shown_input(self) -> str:
        """``"16x64x64, stride 5"``: with the sampling, where videos are looked at."""
        return ", ".join(filter(None, (self.input, self.sampling)))

    @property
    def total_views(self) -> int:
        """Clips × crops."""
        return self.views[0] * self.views[1]

    def as_dict(self) -> dict[str, Any]:
        """Primitives, for JSON."""
        return {
            "name": self.name,
            "model": self.model,
            "checkpoint": self.checkpoint,
            "input": self.input,
            "sampling": self.sampling,
            "views": list(self.views),
            "params": self.params,
            "macs_per_view": self.macs,
            "flops_per_view": self.flops,
            "flops_total": None if self.flops is None else self.flops * self.total_views,
            "non_local_macs_per_view": self.non_local_macs,
            **{key: getattr(self, key) for key in OF_ROW},
        }


@dataclass(frozen=True)
class PairedTest:
    """McNemar's exact test of two rows on the same videos.

    Attributes:
        first: name of a row.
        second: name of another.
        videos: how many there are, without files that only one of the two could read.
        both: of those, both right.
        only_first: only the first right.
        only_second: only the second right.
        p_value: two-sided.
        p_holm: corrected for the number of pairs in the table (Holm).
    """

    first: str
    second: str
    videos: int
    both: int
    only_first: int
    only_second: int
    p_value: float
    p_holm: float

    def as_dict(self) -> dict[str, Any]:
        """Primitives, for JSON."""
        return {"test": "McNemar exact, two-sided", **self.__dict__}


@dataclass
class Difference:
    """The difference in accuracy of two entries, over all their trainings.

    Attributes:
        first: name of an entry.
        second: name of the entry that it is compared with.
        trainings: pairs of trainings with the same seed.
        trained_here: whether the entries were trained here; else they are two checkpoints.
        videos: how many there are, without those that only some trainings could read.
        left_out: the number of these.
        groups: number of groups of videos that the interval is over; 0: it is over videos.
        value: accuracy of the first less that of the second.
        low: of the 95 % interval (crossed.py).
        high: of the 95 % interval.
        p_value: two-sided, of no difference.
        p_holm: corrected for the number of pairs in the table (Holm).
        block: whether the first has non-local blocks and the second none.
        cost: MACs of the first over those of the second; None where they were not counted.
        detectable: the difference that is detected with 80 % power.
        target: about half of it.
        videos_needed: test videos that would show ``target``; None: no number would.
        trainings_needed: trainings that would; None: no number would, or it is not known.
        both_needed: (videos, trainings) that would together.
    """

    first: str
    second: str
    trainings: int
    trained_here: bool
    videos: int
    left_out: int
    groups: int
    value: float
    low: float
    high: float
    p_value: float
    p_holm: float
    block: bool
    cost: float | None
    detectable: float
    target: float
    videos_needed: int | None
    trainings_needed: int | None
    both_needed: tuple[int, int] | None

    def as_dict(self) -> dict[str, Any]:
        """Primitives, for JSON."""
        test = "crossed random effects of seeds and videos, t interval (Satterthwaite), 95 %"
        return {"test": test, **self.__dict__}


def merge_group(name: str, rows: list[Row], groups: Mapping[str, str] | None = None) -> Row:
    """Several trainings of one entry as one row: mean, standard deviation, interval.

    Args:
        name: of the entry.
        rows: its trainings.
        groups: of the videos by path, if intervals are over groups.
    """
    first = next((row for row in rows if not row.error), rows[0])
    good = [row for row in rows if row.top1]
    merged = replace(first, name=name, seed=None, answers=[], confusion=None, unread=[])
    merged.error = None if good else first.error
    for key in ("top1", "top5"):
        scores = [score for row in good if (score := getattr(row, key))]
        setattr(merged, key, _spread(scores) if scores else None)
    if merged.top1 and all(row.answers for row in good):
        merged.top1["interval95"] = _interval(good, groups)
    if good:
        every = [row.confusion or [] for row in good]
        merged.confusion = [
            [sum(cell) for cell in zip(*lines, strict=True)] for lines in zip(*every, strict=True)
        ]
        merged.unread = [sum(counts) for counts in zip(*(row.unread for row in good), strict=True)]
    return merged


def _spread(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread of several trainings; one alone keeps its own interval."""
    values = [score["value"] for score in scores]
    videos = scores[0].get("total", 0)
    if len(values) == 1:
        return {**scores[0], "trainings": 1, "videos": videos}
    return {
        "value": mean(values),
        "deviation": stdev(values),
        "range": [min(values), max(values)],
        "trainings": len(values),
        "total": len(values),
        "videos": videos,
    }


def _interval(rows: list[Row], groups: Mapping[str, str] | None) -> list[float]:
    """The 95 % interval of the accuracy of one or several trainings."""
    if len(rows) == 1 and not groups:
        score = rows[0].top1 or {}
        return list(wilson_interval(score["correct"], score["total"]))
    paths = [path for path, *_ in rows[0].answers]
    answers = [{path: truth == answer for path, truth, answer in row.answers} for row in rows]
    shared = [path for path in paths if all(path in row for row in answers)]
    return list(
        accuracy_interval(
            [[float(row[path]) for path in shared] for row in answers],
            groups=[groups[path] for path in shared] if groups else None,
        )
    )


@dataclass
class Comparison:
    """The table, and how it was measured.

    Attributes:
        rows: one per entry, in the order given.
        tests: pairs of rows that were tested on the same videos (and had the same seed).
        differences: pairs of entries, over all their seeds.
        protocol: convention, views, data census, machine, versions, threads.
        class_names: of the data set, or empty.
        video_groups: groups of the videos by path, if intervals are over groups.
    """

    rows: list[Row]
    tests: list[PairedTest] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    protocol: dict[str, Any] = field(default_factory=dict)
    class_names: list[str] = field(default_factory=list)
    video_groups: dict[str, str] = field(default_factory=dict)

    @property
    def constant(self) -> float | None:
        """The accuracy of always answering the most frequent class, if it is known."""
        counts = (self.protocol.get("data") or {}).get("census", {}).values()
        return max(counts) / sum(counts) if sum(counts) else None

    @property
    def shortcut(self) -> float | None:
        """The accuracy from size, rate, length, codec and bytes of the files, if measured."""
        found = (self.protocol.get("data") or {}).get("shortcut")
        return float(found["value"]) if isinstance(found, dict) else None

    @property
    def failed(self) -> list[Row]:
        """The entries that failed."""
        return [row for row in self.rows if row.error]

    @property
    def shown(self) -> list[Row]:
        """The rows of the table: trainings of one entry are one row."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.group or row.name, []).append(row)
        return [
            merge_group(name, rows, self.video_groups) if rows[0].group else self._single(rows[0])
            for name, rows in groups.items()
        ]

    def _single(self, row: Row) -> Row:
        """A row of one checkpoint, with the interval over groups of videos if there are any."""
        if not self.video_groups or not row.top1 or not row.answers:
            return row
        interval = _interval([row], self.video_groups)
        return replace(row, top1={**row.top1, "interval95": interval})

    def __str__(self) -> str:
        from videonl.evaluation.table import plain_text

        return plain_text(self)

    def as_dict(self) -> dict[str, Any]:
        """Primitives, for JSON."""
        return {
            "protocol": self.protocol,
            "class_names": self.class_names,
            "rows": [row.as_dict() for row in self.rows],
            "groups": [row.as_dict() for row in self.shown if row.group],
            "paired_tests": [test.as_dict() for test in self.tests],
            "differences": [difference.as_dict() for difference in self.differences],
            "answers": {
                row.name: [list(answer) for answer in row.answers]
                for row in self.rows
                if row.answers
            },
        }
