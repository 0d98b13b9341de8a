"""Whether the difference between two networks is significant, over trainings and videos."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from videonl.errors import VideoNLError
from videonl.evaluation.accuracy import met_alike, right_answers
from videonl.evaluation.crossed import Estimate, crossed_estimate
from videonl.evaluation.result import Comparison, Difference, Row
from videonl.evaluation.statistics import holm
from videonl.shares import counted, interval_text, percent, points

SHOWN = 0.05
Answers = dict[str, bool | None]


def video_groups(paths: Sequence[str], *, root: str, pattern: str) -> dict[str, str]:
    """The group of every video: what a regular expression finds in its path below the root.

    Args:
        paths: of the videos.
        root: of the data set.
        pattern: its first capturing group, or without one the whole match, is the group's name.

    Raises:
        VideoNLError: not a regular expression, a path that it does not match, or only one group.
    """
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise VideoNLError(f"--group {pattern!r} is not a regular expression: {error}") from error
    found = {}
    for path in paths:
        below = Path(path)
        if below.is_relative_to(root):
            below = below.relative_to(root)
        match = wanted.search(below.as_posix())
        if match is None:
            raise VideoNLError(
                f"--group {pattern!r} does not match {below.as_posix()!r}; it has to match the "
                "path of every test video"
            )
        found[path] = (match[1] or "") if wanted.groups else match[0]
    if len(set(found.values())) < 2:
        raise VideoNLError(
            f"--group {pattern!r} puts all videos into one group; an interval needs at least two"
        )
    return found


def differences(
    rows: Sequence[Row], *, groups: Mapping[str, str] | None = None
) -> list[Difference]:
    """Every pair of entries, over the seeds that both have.

    Videos that some of these trainings could read and others could not are left out. A checkpoint
    that was not trained here is the same for every seed of the other.

    Args:
        rows: with their answers.
        groups: of the videos by path, if intervals are to be over groups.
    """
    trained: dict[str, dict[int | None, Answers]] = {}
    about: dict[str, Row] = {}
    for row in rows:
        if row.answers:
            name = row.group or row.name
            trained.setdefault(name, {})[row.seed if row.group else None] = right_answers(row)
            about.setdefault(name, row)
    found = []
    for base, subject in combinations(trained, 2):
        if about[base].non_local_macs and about[subject].non_local_macs == 0:
            base, subject = subject, base  # the network with blocks comes first
        pair = _pairs(trained[subject], trained[base])
        if not pair:
            continue
        paths = met_alike([answers for both in pair for answers in both])
        if not paths:
            continue
        values = [[float(bool(a[p])) - float(bool(b[p])) for p in paths] for a, b in pair]
        estimate = crossed_estimate(
            values, groups=[groups[path] for path in paths] if groups else None
        )
        left_out = len(pair[0][0].keys() | pair[0][1].keys()) - len(paths)
        names = [groups[path] for path in paths] if groups else []
        found.append(_difference(about[subject], about[base], estimate, left_out, len(set(names))))
    corrected = holm([item.p_value for item in found])
    for item, p_holm in zip(found, corrected, strict=True):
        item.p_holm = p_holm
    return found


def _pairs(
    first: dict[int | None, Answers], second: dict[int | None, Answers]
) -> list[tuple[Answers, Answers]]:
    """The trainings of two entries with the same seed; a checkpoint goes with every seed."""
    if None in first and None in second:
        return [(first[None], second[None])]
    if None in first:
        return [(first[None], answers) for answers in second.values()]
    if None in second:
        return [(answers, second[None]) for answers in first.values()]
    seeds = [seed for seed in first if seed in second]
    return [(first[seed], second[seed]) for seed in seeds]


def _difference(
    subject: Row, base: Row, estimate: Estimate, left_out: int, groups: int
) -> Difference:
    """The difference with its power, and the videos or trainings that would show half of it."""
    seen = estimate.detectable()
    points = 50 * seen
    target = max(1, round(points)) / 100 if points >= 2 else max(0.1, round(points, 1)) / 100
    return Difference(
        first=subject.group or subject.name,
        second=base.group or base.name,
        trainings=estimate.trainings,
        trained_here=bool(subject.group or base.group),
        videos=estimate.videos,
        left_out=left_out,
        groups=groups,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        p_value=estimate.p_value,
        p_holm=estimate.p_value,
        block=bool(subject.non_local_macs) and base.non_local_macs == 0,
        cost=subject.macs / base.macs if subject.macs and base.macs else None,
        detectable=seen,
        target=target,
        videos_needed=estimate.videos_for(target),
        trainings_needed=estimate.trainings_for(target),
        both_needed=estimate.both_for(target),
    )


def named(size: str) -> str:
    """A difference with its unit: ``"1 point"``, ``"+1.0 points"``."""
    return f"{size} point" if size.lstrip("+-") == "1" else f"{size} points"


def verdict_words(item: Difference, comparison: Comparison) -> str:
    """One sentence: what the first adds to the second, its cost, and whether it is significant.

    No verdict is given if neither is better than a constant answer.
    """
    silent = _not_learned(item, comparison)
    if silent:
        return silent
    one = item.trainings == 1
    seeds = counted(item.trainings, "seed") if not one else "one training of each"
    if not item.trained_here:
        seeds = "these two checkpoints"
    drawn = f" in {counted(item.groups, 'group')}" if item.groups else ""
    who = (
        f"the non-local block ({item.first} against {item.second}) "
        if item.block
        else f"{item.first}, against {item.second}, "
    )
    size = points(item.value, item.videos)
    verb = "loses" if size.startswith("-") else "adds"
    size = size.lstrip("-")
    low, high = (points(end, item.videos) for end in (item.low, item.high))
    cost = f" for {item.cost:.2f} x the cost" if item.cost else ""
    shown = item.p_holm < SHOWN
    end = "shown" if shown else "not shown; " + _power(item)
    if shown and one:
        end += " for these weights; another seed may differ (--train --seeds 5)"
    return (
        f"On {'this' if item.videos == 1 else 'these'} {counted(item.videos, 'test video')}{drawn} "
        f"{who}{verb} {named(size)} [{low}, {high}] ({seeds}){cost}: {end}. p {_p(item.p_value)}"
        + ("" if item.p_holm == item.p_value else f" (Holm: p {_p(item.p_holm)})")
        + (
            f"; left out: {counted(item.left_out, 'video')} that only some trainings could read."
            if item.left_out
            else "."
        )
    )


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= 1e-4 else "< 0.0001"


def _power(item: Difference) -> str:
    """The difference that could have been seen, and what would show half of it."""
    seen = (
        f"a difference of {named(_rounded(item.detectable))} could have been seen with 80 % power"
    )
    ways = []
    if item.videos_needed:
        ways.append(f"about {counted(_about(item.videos_needed), 'test video')}")
    if item.trainings_needed:
        ways.append(counted(item.trainings_needed, "seed"))
    if not ways and item.both_needed:
        videos, seeds = item.both_needed
        both = counted(_about(videos), "test video"), counted(seeds, "seed")
        ways = [f"about {both[0]} and {both[1]} together"]
    target = _rounded(item.target)
    if not ways:
        return f"{seen}; how many seeds would show {named(target)} cannot be estimated from these"
    return f"{seen}; {' or '.join(ways)} would show {target}"


def _rounded(share: float) -> str:
    """Percentage points as text: whole ones from 2 on."""
    return f"{100 * share:.0f}" if 100 * share >= 1.95 else f"{100 * share:.1f}"


def _about(number: int) -> int:
    """Two significant digits, upwards."""
    scale = 10 ** max(0, len(str(number)) - 2)
    return math.ceil(number / scale) * scale


def _not_learned(item: Difference, comparison: Comparison) -> str | None:
    """Why there is no verdict on a pair, or None if one of the two has learned something."""
    constant = comparison.constant
    if constant is None:
        return None
    shown = {row.name: row.top1 for row in comparison.shown if row.top1}
    texts = []
    for name in (item.second, item.first):
        top1 = shown.get(name)
        if top1 is None:
            return None
        low, high = interval_of(top1)
        if low > constant:
            return None
        total = top1.get("videos", top1["total"])
        texts.append(f"{name} ({percent(top1['value'], total)} {interval_text(low, high, total)})")
    looks = [
        f" {row.name}: {row.learning.partition('; try ')[0]}."
        for row in comparison.rows
        if row.learning and row.group in (item.first, item.second)
    ]
    return (
        f"No verdict on {item.first} against {item.second}: neither {' nor '.join(texts)} is shown "
        f"to be better than a constant answer ({percent(constant, item.videos)}), so neither may "
        "have learned anything. Train them for longer (--train with --epochs), at another rate "
        f"(--learning-rate) or from published weights.{''.join(looks)}"
    )


def interval_of(score: Mapping[str, object]) -> tuple[float, float]:
    """The interval of an accuracy: over trainings and videos, Wilson's, or the range over seeds."""
    found = score.get("interval95") or score.get("wilson95") or score["range"]
    assert isinstance(found, (list, tuple))
    return float(found[0]), float(found[1])
