"""Make a split where a data set has none: seeded, by class, never dividing a group of files."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from os import path as paths
from pathlib import Path

import numpy as np

from videonl.data.lists import label_text
from videonl.data.records import SPLIT_FOLDERS, Record
from videonl.errors import DatasetError
from videonl.files import csv_line, write_text
from videonl.shares import counted
from videonl.video.decoding.container import split_span

TRAIN_LIST, VAL_LIST, CLASSES = "train.csv", "val.csv", "classes.txt"
# What files of one recording have in common: (in words, pattern, only within a class).
OBVIOUS = (
    ("g01 in _g01_c01, of one class", r"_(g\d+)_c\d+$", True),
    ("the id in <id>_<start>_<end>", r"^(.{11})_\d{6}_\d{6}$", False),
    (
        "the sequence at the start",
        r"(?i)^(.*?(?<![a-z])(?:seq|sequence|scene|session|take)[_-]?\d+)(?!\d)",
        False,
    ),
    ("the person at the start", r"(?i)^((?:person|subject|actor|user)[_-]?\d+)", False),
    (
        "the text before clip and number",
        r"(?i)^(.+?)[_-](?:clip|seg|segment|part|shot|c)[_-]?\d+$",
        True,
    ),
)

Groups = dict[str, list[Record]]


def make_split(
    records: Sequence[Record],
    class_names: Sequence[str],
    *,
    root: str,
    share: float,
    seed: int,
    group: str | None = None,
) -> tuple[list[Record], list[Record], list[str]]:
    """Take a share of every class for validation, in whole groups.

    Args:
        records: all videos.
        class_names: of their labels.
        root: the data set's folder; groups are looked for in paths relative to it.
        share: of the videos, between 0 and 1.
        seed: of the choice.
        group: see :func:`grouped`.

    Returns:
        (training, validation, notes).

    Raises:
        DatasetError: no class has more than one group, or a wrong share or pattern.
    """
    check_choice(share, group)
    groups, words = grouped(records, root, group=group)
    total = Counter(label for record in records for label in labels_of(record))
    left, taken = dict(total), Counter[int]()
    chosen: set[str] = set()
    for name in _shuffled(groups, seed):
        counts = Counter(label for record in groups[name] for label in labels_of(record))
        gain = sum(
            abs(taken[c] - share * total[c]) - abs(taken[c] + n - share * total[c])
            for c, n in counts.items()
        )
        needed = any(not taken[c] for c in counts)
        if (gain > 0 or needed) and all(left[c] > n for c, n in counts.items()):
            chosen.add(name)
            taken.update(counts)
            left = {c: n - counts[c] for c, n in left.items()}
    held = {id(record) for name in chosen for record in groups[name]}
    train = [record for record in records if id(record) not in held]
    val = [record for record in records if id(record) in held]
    if not val:
        raise DatasetError(
            f"{root}: no class has more than one group of videos ({words}), so none can be kept "
            "for validation; --data.val none trains without one"
        )
    notes = [
        f"the data set has no split: {len(val)} of {counted(len(records), 'video')} are kept for "
        f"val, by {words}"
    ]
    alone = [class_names[c] for c in sorted(total) if not taken[c]]
    if alone:
        number = counted(len(alone), "class")
        notes.append(f"without a video in val: {number} with one group only: {_few(alone)}")
    return train, val, notes


def check_choice(share: float, group: str | None) -> None:
    """Refuse a share or a pattern that can make no split.

    Raises:
        DatasetError: names the way out.
    """
    if not 0 < share < 1:
        raise DatasetError(
            f"val_share={share:g} must lie between 0 and 1; --data.val none trains without one"
        )
    try:
        re.compile(group or "")
    except re.error as error:
        raise DatasetError(f"--data.group {group}: not a regular expression ({error})") from error


def make_folds(
    records: Sequence[Record],
    class_names: Sequence[str],
    *,
    root: str,
    folds: int,
    seed: int,
    group: str | None = None,
) -> tuple[list[list[Record]], str]:
    """Deal whole groups into folds of about the same number of videos of each class.

    Args:
        records: all videos.
        class_names: of their labels.
        root: see :func:`make_split`.
        folds: how many, at least 2.
        seed: of the choice.
        group: see :func:`grouped`.

    Returns:
        (the videos of each fold, a description of the groups).

    Raises:
        DatasetError: fewer groups than folds, or a class in one group only.
    """
    groups, words = grouped(records, root, group=group)
    if not 2 <= folds <= len(groups):
        raise DatasetError(
            f"--folds {folds}: {root} has {counted(len(groups), 'group')} of videos ({words}); "
            f"give 2 to {len(groups)}"
        )
    of_class: dict[int, set[str]] = defaultdict(set)
    for name, members in groups.items():
        for record in members:
            for label in labels_of(record):
                of_class[label].add(name)
    single = [class_names[c] for c, names in sorted(of_class.items()) if len(names) < 2]
    if single:
        raise DatasetError(
            f"{root}: the class {single[0]!r} lies in one group only ({words}), so it would be "
            "tested without being trained; add videos of it, or take it out"
        )
    dealt: list[list[str]] = [[] for _ in range(folds)]
    counts = [Counter[int]() for _ in range(folds)]
    sizes = [0] * folds
    for name in _shuffled(groups, seed):
        labels = Counter(label for record in groups[name] for label in labels_of(record))
        place = min(
            range(folds), key=lambda k: (sum(counts[k][c] * n for c, n in labels.items()), sizes[k])
        )
        dealt[place].append(name)
        counts[place].update(labels)
        sizes[place] += len(groups[name])
    return [[r for name in names for r in groups[name]] for names in dealt], words


def grouped(records: Sequence[Record], root: str, *, group: str | None) -> tuple[Groups, str]:
    """Videos that belong together, and a description of how they were found.

    Args:
        records: all videos.
        root: their paths are looked at relative to it.
        group: a regular expression; what its parentheses match (or the whole match) is equal for
            videos that belong together. None: a prefix that all names have and that some share,
            else folders below a class, else every file is its own group.

    Raises:
        DatasetError: not a regular expression, or one that does not match some path.
    """
    names = {id(r): paths.relpath(split_span(r.path)[0], root).replace("\\", "/") for r in records}
    if group is not None:
        return _by_pattern(records, names, group), f"--data.group {group}"
    labels = {id(record): labels_of(record) for record in records}
    for words, pattern, within in OBVIOUS:
        stems = {k: paths.splitext(paths.basename(name))[0] for k, name in names.items()}
        found = {key: re.search(pattern, stem) for key, stem in stems.items()}
        if all(found.values()):
            keys = {
                key: f"{labels[key] if within else ''}/{match[1]}"
                for key, match in found.items()
                if match
            }
            if len(set(keys.values())) < len({names[key] for key in keys}):
                return _collect(records, keys), f"groups ({words})"
    below = {k: _below_split(n) for k, n in names.items()}
    deep = {k: paths.dirname(n) for k, n in below.items() if n.count("/") > 1}
    if deep:
        keys = {k: deep.get(k, n) for k, n in names.items()}
        return _collect(records, keys), "folders below the classes"
    return _collect(records, names), "single files (--data.group REGEX keeps some together)"


def _below_split(name: str) -> str:
    """A path without the folder of its split, since groups may span splits."""
    first, _, rest = name.partition("/")
    return rest if first in SPLIT_FOLDERS else name


def groups_in_both(
    records: Mapping[str, Sequence[Record]], root: str, *, group: str | None
) -> tuple[dict[str, tuple[str, ...]], int, str]:
    """Groups of videos that lie in more than one split.

    Args:
        records: split -> its videos.
        root: see :func:`make_split`.
        group: see :func:`grouped`.

    Returns:
        (group -> its splits, number of groups, a description of the groups).
    """
    place = {id(r): split for split, members in records.items() for r in members}
    groups, words = grouped([r for m in records.values() for r in m], root, group=group)
    found = {name: tuple(sorted({place[id(r)] for r in rs})) for name, rs in groups.items()}
    return {name: splits for name, splits in found.items() if len(splits) > 1}, len(found), words


def _by_pattern(records: Sequence[Record], names: dict[int, str], group: str) -> Groups:
    check_choice(0.5, group)
    pattern = re.compile(group)
    keys = {}
    for key, name in names.items():
        match = pattern.search(name)
        if match is None:
            raise DatasetError(
                f"--data.group {group} matches nothing in {name}; it must match in the path of "
                "every video"
            )
        keys[key] = "/".join(part or "" for part in match.groups()) or match[0]
    return _collect(records, keys)


def _collect(records: Sequence[Record], keys: dict[int, str]) -> Groups:
    found: Groups = defaultdict(list)
    for record in records:
        found[keys[id(record)]].append(record)
    return dict(found)


def _shuffled(groups: Groups, seed: int) -> list[str]:
    """Names in seeded order, the largest groups first."""
    names = sorted(groups)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(names))
    return sorted((names[i] for i in order), key=lambda name: -len(groups[name]))


def identities(records: Iterable[Record], root: str) -> list[str]:
    """A short name for every video: a hash of its path below the data set's folder and its size.

    A checkpoint stores those of its training videos and so recognises them on another machine.
    """
    found = []
    for record in records:
        file, _ = split_span(record.path)
        size = paths.getsize(file) if paths.exists(file) else 0
        name = paths.relpath(record.path, root).replace("\\", "/")
        digest = hashlib.blake2b(f"{name}\0{size}".encode(errors="surrogateescape"), digest_size=8)
        found.append(digest.hexdigest())
    return found


def unseen(
    records: Sequence[Record], root: str, trained: object, *, source: str
) -> tuple[list[Record], str]:
    """Leave out the videos that a network was trained on.

    Args:
        records: of a split.
        root: the data set's folder.
        trained: from the checkpoint: :func:`identities` joined to one string; None: unknown.
        source: the checkpoint, for messages.

    Returns:
        (the others, a note for the user or "").

    Raises:
        DatasetError: nothing is left.
    """
    if not isinstance(trained, str):
        return list(records), ""
    known = {trained[i : i + 16] for i in range(0, len(trained), 16)}
    names = identities(records, root)
    left = [r for r, name in zip(records, names, strict=True) if name not in known]
    gone = len(records) - len(left)
    if gone and not left:
        raise DatasetError(
            f"{source} was trained on all of the {counted(gone, 'video')} of {root} that would be "
            "tested (same path and size), so the test would say nothing; give other videos"
        )
    said = (
        f"{gone} of {counted(len(records), 'video')} left out of the test: {source} was trained "
        "on them"
    )
    return left, said if gone else ""


def labels_of(record: Record) -> tuple[int, ...]:
    """All class numbers of a video."""
    return record.labels or (() if record.label is None else (record.label,))


def write_lists(
    folder: Path,
    splits: Iterable[tuple[str, Sequence[Record]]],
    class_names: Sequence[str],
    *,
    root: str,
) -> None:
    """Write list files and the class names to which their numbers refer.

    Args:
        folder: gets ``classes.txt`` and the lists.
        splits: name of a file -> its videos.
        class_names: in the order of the labels.
        root: the paths become relative to it.
    """
    write_text(folder / CLASSES, "".join(f"{name}\n" for name in class_names))
    for name, records in splits:
        lines = [csv_line(["path", "start", "end", "label"])]
        for record in records:
            file, span = split_span(record.path)
            start, end = span or ("", "")
            label = label_text([class_names[n] for n in labels_of(record)])
            lines.append(csv_line([paths.relpath(file, root), start, end or "", label]))
        write_text(folder / name, lines)


def _few(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
