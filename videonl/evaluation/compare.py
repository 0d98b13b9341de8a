"""Compare networks: cost, speed and accuracy.

table = compare_models(["i3d_r50", "i3d_r50_nl5"], clip=(8, 224))
print(table)
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from videonl.data.layouts import check_split
from videonl.data.shortcut import shortcut_of
from videonl.errors import VideoNLError, first_line
from videonl.evaluation.accuracy import (
    VideoSet,
    classify_set,
    paired_tests,
    read_set,
)
from videonl.evaluation.cost import count_cost
from videonl.evaluation.entry import (
    Contestant,
    Entry,
    equally_dear,
    make_contestant,
    match_classes,
    parse_entry,
    row_names,
)
from videonl.evaluation.result import Comparison, Row
from videonl.evaluation.speed import Subject, describe_environment, measure
from videonl.evaluation.trained_rows import (
    Budget,
    reading_options,
    train_entries,
    widened,
)
from videonl.evaluation.verdict import differences, video_groups
from videonl.inference.network import choose_device
from videonl.inference.predictor import Predictor
from videonl.video.preprocessing import check_entries

CONVENTION = (
    "1 MAC = one multiplication with its addition, FLOPs = 2 x MACs; counted are "
    "convolutions, linear layers and the pairwise products of non-local blocks, as executed"
)
Reporter = Callable[[str, int, int], None]  # (what, done, total)


def compare_models(
    entries: Sequence[str | Entry],
    *,
    clip: tuple[int, int] | None = None,
    views: tuple[int, int] | None = None,
    data: str | None = None,
    split: str | None = None,
    num_classes: int | None = None,
    device: str | torch.device = "auto",
    rounds: int = 5,
    batch_size: int = 1,
    training_speed: bool = False,
    train: Budget | None = None,
    folder: str | Path | None = None,
    group: str | None = None,
    equal_cost: bool = False,
    on_progress: Reporter | None = None,
) -> Comparison:
    """Compare networks; an entry that fails has the reason in its row, the others go on.

    Args:
        entries: network names, checkpoints, ``"NAME=..."`` of either, or ``Entry`` values.
        clip: (frames, size) of networks by name; None: the views that each was made for. A
            checkpoint is measured on the views of its own protocol.
        views: (clips, crops) per video; None: those by which each network was validated or
            published. A checkpoint is counted and timed at the size of its views.
        data: a data set's folder, to test the checkpoints on.
        split: split to test on; None: test if there is one, else val.
        num_classes: of networks by name; None: those of the data set, else 400.
        device: where to measure.
        rounds: how often the speed is measured; 0: not at all.
        batch_size: clips per pass when the speed is measured.
        training_speed: measure forward and backward too.
        train: train the networks by name first, once per seed, on ``data``.
        folder: where the trainings go.
        group: a regular expression that finds the group (camera, subject, sequence) of a video in
            its path; intervals are then computed over groups, since their videos are alike.
        equal_cost: widen the networks by name that have no non-local block until they cost as much
            as the most expensive one with blocks.
        on_progress: called with (what, done, total).

    Returns:
        The table; ``str()`` of it is readable, ``as_dict()`` is JSON.

    Raises:
        VideoNLError: no entries, impossible views, an unusable data set or device; with ``train``
            an entry that cannot be made or read.
    """
    if not entries:
        raise VideoNLError("nothing to compare: give network names or checkpoints")
    if views is not None:
        check_entries({"views": views})
    place = choose_device(device)
    videos = read_set(data, split, reading=reading_options(train)) if data is not None else None
    groups = None
    if group is not None:
        if videos is None:
            raise VideoNLError("--group needs the test videos; give --data too")
        groups = video_groups(videos.paths, root=videos.root, pattern=group)
    classes = num_classes or (len(videos.class_names) if videos else 400)
    wanted = [parse_entry(entry) if isinstance(entry, str) else entry for entry in entries]
    widths: dict[str, int] = {}
    if equal_cost:
        if train is None:
            wanted, widths = equally_dear(wanted, clip=clip, num_classes=classes)
        else:
            wanted, widths = widened(wanted, train, num_classes=classes)
    rows = [Row(name) for name in row_names(wanted)]
    report = on_progress or (lambda *_: None)
    protocol: dict[str, Any] = {
        "convention": CONVENTION,
        "views": "",
        "timing": {
            "rounds": rounds,
            "batch_size": batch_size,
            "how": "rounds alternate over the entries; median and quartiles",
        },
        "environment": describe_environment(place),
    }
    if widths:
        protocol["equal_cost"] = widths
    if train is not None:
        if videos is None or data is None or folder is None:
            raise VideoNLError("training needs a data set (--data) and a folder (--out)")
        wanted, rows, protocol["training"] = train_entries(
            wanted,
            data=data,
            budget=train,
            folder=Path(folder) / "training",
            device=place,
            split=videos.split,
            on_training=lambda done, total: report("training", done, total),
        )
    made = _make_all(
        wanted, rows, videos, clip=clip, views=views, num_classes=classes, device=place
    )
    if videos is not None:
        videos, left_out = _unseen(rows, made, videos)
    used = sorted({f"{row.views[0]}x{row.views[1]}" for row in rows if row.name in made})
    protocol["views"] = used[0] if len(used) == 1 else "each network's own"
    protocol["inputs"] = sorted({row.input for row in rows if row.input})
    if videos is not None:
        protocol["data"] = _test_all(rows, made, videos, report)
        protocol["data"]["left_out"] = left_out
        found = shortcut_of(videos.root, videos.records(), learnt=videos.learnt, group=group)
        protocol["data"]["shortcut"] = found if isinstance(found, str) else found.as_dict()
        if groups:
            count = len(set(groups.values()))
            protocol["data"]["groups"] = {"pattern": group, "count": count}
    if rounds:
        _time_all(rows, made, place, rounds, batch_size, training_speed, report)
    return Comparison(
        rows,
        tests=paired_tests(rows),
        differences=differences(rows, groups=groups),
        protocol=protocol,
        class_names=videos.class_names if videos else [],
        video_groups=groups or {},
    )


def _make_all(
    wanted: Sequence[Entry],
    rows: Sequence[Row],
    videos: VideoSet | None,
    *,
    clip: tuple[int, int] | None,
    views: tuple[int, int] | None,
    num_classes: int,
    device: torch.device,
) -> dict[str, Contestant]:
    """Make every entry and count its cost; rows that fail get the reason."""
    made: dict[str, Contestant] = {}
    for entry, row in zip(wanted, rows, strict=True):
        if row.error:
            continue
        row.checkpoint = entry.target if entry.is_checkpoint else None
        try:
            contestant = make_contestant(
                entry, clip=clip, views=views, num_classes=num_classes, device=device
            )
            if videos and contestant.predictor:
                names = contestant.predictor.class_names
                trained = contestant.predictor.about.get("data_split")
                check_split(videos.official, trained, source=entry.target)
                match_classes(names, videos.class_names, source=entry.target, data=videos.root)
            row.model, row.clip_shape = contestant.model_name, contestant.clip_shape
            row.sampling = contestant.sampling
            row.views = contestant.views
            cost = count_cost(contestant.model, contestant.clip_shape)
            row.params, row.macs = cost.params, cost.macs
            row.non_local_macs = cost.non_local_macs
            made[row.name] = contestant
        except (ValueError, TypeError, RuntimeError) as error:  # also of networks from outside
            row.error = first_line(error)
    return made


def _unseen(
    rows: Sequence[Row], made: dict[str, Contestant], videos: VideoSet
) -> tuple[VideoSet, list[str]]:
    """The videos that no network was trained on, and notes about the others."""
    left, said = videos, []
    for row in rows if videos.split != "train" else ():
        predictor = made[row.name].predictor if row.name in made else None
        if predictor is None:
            continue
        try:
            left, words = left.unseen(predictor.trained_videos, source=row.name)
        except VideoNLError as error:
            row.error = str(error)
            del made[row.name]
        else:
            said += [words] if words else []
    return left, said


def _test_all(
    rows: Sequence[Row], made: dict[str, Contestant], videos: VideoSet, report: Reporter
) -> dict[str, Any]:
    """Test every checkpoint; returns the entry of the protocol about the data."""
    unreadable: dict[str, str] = {}
    averages: set[object] = set()
    tested = [row for row in rows if row.name in made and made[row.name].predictor]
    count, total = itertools.count(1), len(tested) * len(videos.paths)

    def step() -> None:
        report("testing", next(count), total)

    report("testing", 0, total)
    for row in tested:
        predictor = made[row.name].predictor
        assert predictor is not None
        try:
            outcome = classify_set(predictor, videos, views=row.views, on_video=step)
            row.own = _own_figure(predictor, videos, row.views)
        except (ValueError, RuntimeError) as error:
            row.error = first_line(error)
            continue
        averages.add(predictor.protocol(row.views)["average"])
        row.top1 = outcome.top1.as_dict()
        row.top5 = outcome.top5.as_dict() if outcome.top5 else None
        row.confusion, row.unread = outcome.confusion, outcome.unread
        row.answers = outcome.answers
        unreadable |= {failure.path: failure.error for failure in outcome.unreadable}
    return {
        "root": videos.root,
        "split": videos.split,
        "videos": len(videos.paths),
        "census": videos.census(),
        "unreadable": unreadable,
        "averages": sorted(map(str, averages)),
        "interval": "Wilson score interval, 95 %",
        "paired_test": "McNemar exact, two-sided; Holm's correction over all pairs",
    }


def _own_figure(
    predictor: Predictor, videos: VideoSet, views: tuple[int, int]
) -> dict[str, Any] | None:
    """The network's own views and its accuracy with them; None if they are those asked for.

    The accuracy is only measured if they are no more, so as not to take longer than asked for.
    """
    own = predictor.preprocessing
    asked = own.with_views(views)
    if asked == own:
        return None
    found: dict[str, Any] = {"views": own.shown_views, "top1": None}
    if own.num_views <= asked.num_views:
        found["top1"] = classify_set(predictor, videos, views=own.views).top1.as_dict()
    return found


def _time_all(
    rows: Sequence[Row],
    made: dict[str, Contestant],
    device: torch.device,
    rounds: int,
    batch_size: int,
    training: bool,
    report: Reporter,
) -> None:
    """Measure the speed of all entries in alternation, and set it in their rows."""
    seen: set[str] = set()
    subjects = {}
    for row in rows:  # trainings of one entry are equally fast: one of them is enough
        if row.name in made and not (row.group and row.group in seen):
            seen.add(row.group)
            subjects[row.name] = Subject(made[row.name].model, made[row.name].clip_shape)
    # Training passes change the running statistics of batch norm: they come last.
    for mode in ("inference", "training") if training else ("inference",):
        report(f"timing {mode}", 0, rounds)
        speeds, errors = measure(
            subjects,
            training=mode == "training",
            batch_size=batch_size,
            rounds=rounds,
            device=device,
            on_round=lambda done, mode=mode: report(f"timing {mode}", done, rounds),  # type: ignore[misc]
        )
        for row in rows:
            if row.name in speeds:
                setattr(row, mode, speeds[row.name].as_dict())
            if row.name in errors:
                row.error = f"{mode}: {errors[row.name]}"
