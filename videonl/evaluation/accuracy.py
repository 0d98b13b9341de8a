"""Top-1 and top-5 of checkpoints on the same videos, and the paired tests between them."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from videonl.class_names import ClassNumbers
from videonl.data.catalogue import evaluation_set
from videonl.data.records import Record, check_still_there
from videonl.data.splits import unseen
from videonl.errors import DatasetError
from videonl.evaluation.result import PairedTest, Row
from videonl.evaluation.statistics import holm, mcnemar_exact
from videonl.inference.prediction import Failure
from videonl.inference.predictor import Predictor
from videonl.shares import Score


@dataclass(frozen=True)
class VideoSet:
    """The videos of one split.

    Attributes:
        root: the data set's folder, as given.
        split: train, val or test.
        paths: the files.
        labels: class number of each.
        class_names: names in the order of the numbers.
        official: data set and split, where its official lists were read.
        learnt: the training videos of the same data set, if it has them.
    """

    root: str
    split: str
    paths: list[str]
    labels: list[int]
    class_names: list[str]
    official: str | None = None
    learnt: list[Record] = field(default_factory=list)

    def unseen(self, trained: object, *, source: str) -> tuple["VideoSet", str]:
        """Without the videos that a network was trained on; see ``videonl.data.splits.unseen``."""
        left, said = unseen(self.records(), self.root, trained, source=source)
        paths, labels = [r.path for r in left], [r.label or 0 for r in left]
        return replace(self, paths=paths, labels=labels), said

    def records(self) -> list[Record]:
        """The videos as records of the data set."""
        pairs = zip(self.paths, self.labels, strict=True)
        return [Record(path, (label,)) for path, label in pairs]

    def census(self) -> dict[str, int]:
        """Videos per class."""
        return {name: self.labels.count(i) for i, name in enumerate(self.class_names)}


def read_set(root: str, split: str | None, *, reading: Mapping[str, Any] | None = None) -> VideoSet:
    """List the videos of a split, of class folders or of a list file.

    Args:
        root: the data set's folder.
        split: None: test where there is one, else val.
        reading: more arguments of ``videonl.data.evaluation_set``, such as lists.

    Videos that a list names and that do not exist are among them: they count as wrong and are
    reported, as unreadable ones are.

    Raises:
        DatasetError: another layout, no such split, or a video without a label.
    """
    found = evaluation_set(root, split, **(reading or {}))
    records = [*found.records, *found.missing]
    for record in records:
        if record.label is None or len(record.labels) > 1:
            raise DatasetError(
                f"{record.path}: compare needs data with exactly one label per video"
            )
    labels = [record.label or 0 for record in records]
    paths = [os.fspath(record.path) for record in records]
    names, learnt = found.class_names, found.learnt
    return VideoSet(str(root), found.split, paths, labels, names, found.official, learnt)


@dataclass(frozen=True)
class Outcome:
    """The answers of one network, and its scores.

    Attributes:
        answers: (path, truth, answer) of every video; no answer where it could not be read.
        top1: share of right answers.
        top5: share of videos whose class is among the five most probable; None with few classes.
        confusion: [truth][answer] counts of the videos that could be read.
        unread: counts of the other videos, by their class.
        unreadable: the same videos, with the reason.
    """

    answers: list[tuple[str, str, str]]
    top1: Score
    top5: Score | None
    confusion: list[list[int]]
    unread: list[int]
    unreadable: list[Failure]


def classify_set(
    predictor: Predictor,
    videos: VideoSet,
    *,
    views: tuple[int, int],
    on_video: Callable[[], None] | None = None,
) -> Outcome:
    """Classify the videos of a test set, in the same way as ``infer.py``.

    A file that cannot be read counts as wrong, as in ``train.py test``, and is reported.

    Raises:
        DatasetError: the folder of the data is gone.
    """
    names = videos.class_names
    number = ClassNumbers(names)
    confusion = [[0] * len(names) for _ in names]
    unread = [0] * len(names)
    answers, unreadable, among_five = [], [], 0
    outcomes = predictor.predict_many(videos.paths, top_k=5, views=views, workers=1)
    for label, outcome in zip(videos.labels, outcomes, strict=True):
        if isinstance(outcome, Failure):
            check_still_there(videos.root)  # not one bad video, but all
            unreadable.append(outcome)
            unread[label] += 1
            answers.append((outcome.path, names[label], ""))
        else:
            ranks = [number[name] for name in outcome.classes]
            confusion[label][ranks[0]] += 1
            among_five += label in ranks
            answers.append((outcome.path, names[label], names[ranks[0]]))
        if on_video:
            on_video()
    right = sum(confusion[i][i] for i in range(len(names)))
    top5 = Score(among_five, len(answers)) if len(names) > 5 else None
    return Outcome(answers, Score(right, len(answers)), top5, confusion, unread, unreadable)


def paired_tests(rows: Sequence[Row]) -> list[PairedTest]:
    """McNemar's exact test of every pair of rows, on the videos that both or neither could read.

    A file that only one of them could read (it was deleted in between) is left out; one that
    neither could read is wrong for both.

    Of rows that were trained here, only those of the same seed make a pair.
    """
    seeds = {row.name: row.seed for row in rows}
    right = {row.name: right_answers(row) for row in rows if row.answers}
    counts = []
    for first, second in combinations(right, 2):
        if seeds[first] != seeds[second] and None not in (seeds[first], seeds[second]):
            continue
        shared = met_alike([right[first], right[second]])
        if not shared:
            continue
        pairs = [(bool(right[first][path]), bool(right[second][path])) for path in shared]
        counts.append((first, second, pairs))
    p_values = [mcnemar_exact(p.count((True, False)), p.count((False, True))) for *_, p in counts]
    return [
        PairedTest(
            first=first,
            second=second,
            videos=len(pairs),
            both=pairs.count((True, True)),
            only_first=pairs.count((True, False)),
            only_second=pairs.count((False, True)),
            p_value=p_value,
            p_holm=p_holm,
        )
        for (first, second, pairs), p_value, p_holm in zip(
            counts, p_values, holm(p_values), strict=True
        )
    ]


def right_answers(row: Row) -> dict[str, bool | None]:
    """Whether it was right, per video; None where it could not be read."""
    return {path: truth == answer if answer else None for path, truth, answer in row.answers}


def met_alike(answers: Sequence[dict[str, bool | None]]) -> list[str]:
    """The videos that all of these rows, or none of them, could read."""
    shared = set.intersection(*map(set, answers))
    return sorted(path for path in shared if len({row[path] is None for row in answers}) == 1)
