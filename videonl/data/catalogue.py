"""From a data set's folder (and lists) to records, class names and a census."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from videonl.class_names import order_classes, read_class_names
from videonl.data.census import SplitCensus, is_skipped, read_skip_list
from videonl.data.labels import Labels, ListFile
from videonl.data.layouts import Official, recognise
from videonl.data.lists import Entry, read_list
from videonl.data.records import (
    SPLITS,
    Finder,
    Record,
    check_root,
    class_folders,
    folder_list,
    folder_records,
    scan_classes,
    split_finder,
    split_folder,
)
from videonl.data.splits import make_split
from videonl.data.walk import FolderIndex, others, others_text
from videonl.errors import DatasetError
from videonl.shares import counted
from videonl.video.decoding.container import with_span

_LIST_NAMES = ("{split}.csv", "{split}.txt", "{split}.tsv", "annotations/{split}.csv")


@dataclass
class Catalogue:
    """What a data set contains.

    Attributes:
        class_names: in canonical order.
        records: per split; without the missing files.
        census: per split.
        missing: per split, the files that a list names and that do not exist, as records.
        skipped: absolute path -> reason, from the skip list.
        multi_label: some video has several labels.
        notes: sentences about how it was read, where that is not obvious.
        official: data set and split, where its official lists were read.
        sides_matter: a mirrored clip may belong to another class.
        several: its videos may have any number of labels.
        unsplit: class folders without train, val or test above them; all videos are in train.
    """

    class_names: list[str] = field(default_factory=list)
    records: dict[str, list[Record]] = field(default_factory=dict)
    census: dict[str, SplitCensus] = field(default_factory=dict)
    missing: dict[str, list[Record]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    official: str | None = None
    sides_matter: bool = False
    several: bool = False
    unsplit: bool = False

    @property
    def multi_label(self) -> bool:
        """Whether some video has several labels."""
        return self.several or any(
            len(r.labels) > 1 for records in self.records.values() for r in records
        )

    def all_is_test(self) -> None:
        """Of a data set without a split: use every video as a test video."""
        self.records["test"] = self.records.pop("train")
        self.census["test"] = self.census.pop("train")


@dataclass(frozen=True)
class EvaluationSet:
    """The videos of one split; videos that cannot be read are included and count.

    Attributes:
        split: train, val or test.
        records: the files, in the order of the folder or list, including those on the skip list.
        class_names: in the order of the labels' numbers.
        missing: videos in the list that do not exist.
        skipped: absolute path -> reason, from the skip list.
        census: counts of its videos.
        official: data set and split, where its official lists were read.
        learnt: the training videos of the same data set.
    """

    split: str
    records: list[Record]
    class_names: list[str]
    missing: list[Record]
    skipped: dict[str, str]
    census: SplitCensus
    official: str | None = None
    learnt: list[Record] = field(default_factory=list)


def read_catalogue(
    root: str | os.PathLike[str],
    *,
    lists: Mapping[str, str | None] | None = None,
    class_names: str | Sequence[str] | None = None,
    first_label: int | None = None,
    official_split: int | None = None,
    skip_list: str | None = None,
) -> Catalogue:
    """List the videos and classes of a data set, without opening a video.

    Args:
        root: the folder; with lists, their paths are relative to it (or to ``root/<split>``).
        lists: split -> list file. Default: ``root/<split>.csv``, ``.txt`` or ``.tsv``, or
            ``root/annotations/<split>.csv`` where ``root/<split>`` has no class folders.
        class_names: names, or a file of names, one per line, in the order of their numbers.
        first_label: the number of the first class in lists; default 0, or 1 where that is certain.
        official_split: of a data set that has several; default the first.
        skip_list: default ``root/videonl_skip.tsv`` if it exists.

    Raises:
        DatasetError: one sentence about the layout, a list or the labels.
    """
    names = read_class_names(class_names) if isinstance(class_names, str) else class_names
    folder = Path(root)
    if not os.path.isdir(folder):
        check_root(folder)  # raises
    index = FolderIndex(folder)
    chosen = {s: f for s, f in (lists or {}).items() if f}
    if chosen and official_split is not None:
        raise DatasetError(
            f"--data.official_split {official_split} chooses among the official lists of a data "
            f"set, and {next(iter(chosen.values()))} is read in place of them; leave one out"
        )
    known = None
    beside = not chosen
    if not chosen and (official_split is not None or not _has_splits(folder)):
        known = recognise(folder, index, split=official_split)
    there = {} if chosen else lists_of(folder)
    chosen = chosen or {split: files[0] for split, files in there.items()}
    if known or not chosen:
        _check_idle(known and known[0], root, names=names, first_label=first_label)
    catalogue = Catalogue(skipped=read_skip_list(folder, skip_list))
    if known is not None:
        _from_official(catalogue, folder, *known, list(names) if names else None)
    elif chosen:
        found = {s: ListFile(chosen[s], read_list(chosen[s], split=s)) for s in chosen}
        for split in SPLITS if beside else ():
            if split not in found and (part := folder_list(folder, split, index)):
                found[split] = part
        _from_lists(catalogue, folder, found, index, list(names) if names else None, first_label)
        catalogue.notes += [
            f"{files[0]} is the list of {split}; {', '.join(files[1:])} is there, too, and is not "
            f"read (--data.{split}_list chooses)"
            for split, files in there.items()
            if len(files) > 1
        ]
    else:
        _from_folders(catalogue, check_root(folder), index, list(names) if names else None)
    index.save()
    if skip_list and catalogue.skipped and not any(map(os.path.lexists, catalogue.skipped)):
        catalogue.notes.append(
            f"no line of the skip list {skip_list} is a file: the first would be "
            f"{next(iter(catalogue.skipped))}"
        )
    for split, records in catalogue.records.items():
        _count(catalogue, root, split, records)
    return catalogue


def evaluation_set(
    root: str | os.PathLike[str],
    split: str | None,
    *,
    lists: Mapping[str, str | None] | None = None,
    class_names: str | Sequence[str] | None = None,
    skip_list: str | None = None,
    official_split: int | None = None,
) -> EvaluationSet:
    """The videos of one split of any data set that :func:`read_catalogue` reads.

    The split is ``"train"``, ``"val"`` or ``"test"``; None: test where there is one, else val. The
    other arguments are those of :func:`read_catalogue`.

    Raises:
        DatasetError: another layout, an unknown split, or one that is not there.
    """
    if split is not None and split not in SPLITS:
        raise DatasetError(f"split={split!r} is unknown; use one of {', '.join(SPLITS)}")
    catalogue = read_catalogue(
        root,
        lists=lists,
        class_names=class_names,
        skip_list=skip_list,
        official_split=official_split,
    )
    if catalogue.unsplit and split in ("test", None):  # all there is
        catalogue.all_is_test()
    if split is None:
        split = "val" if "val" in catalogue.records and "test" not in catalogue.records else "test"
    if split not in catalogue.records:
        there = ", ".join(catalogue.records)
        raise DatasetError(f"{root} has no {split} folder or list (it has: {there})")
    return EvaluationSet(
        split=split,
        records=catalogue.records[split],
        class_names=catalogue.class_names,
        missing=catalogue.missing.get(split, []),
        skipped=catalogue.skipped,
        census=catalogue.census[split],
        official=catalogue.official,
        learnt=catalogue.records.get("train", []) if split != "train" else [],
    )


def _check_idle(
    known: Official | None,
    root: str | os.PathLike[str],
    *,
    names: Sequence[str] | None,
    first_label: int | None,
) -> None:
    """Refuse what would say nothing about official lists or class folders.

    Raises:
        DatasetError: names the option.
    """
    if names and known and known.names:
        raise DatasetError(
            f"the official lists of {known.name} bring their class names along; leave out "
            "--data.class_names_file"
        )
    if first_label is not None:
        of = f"the official lists of {known.name}" if known else f"the class folders of {root}"
        raise DatasetError(
            f"--data.first_label {first_label} is for lists that number the classes, and {of} "
            "name them; leave it out"
        )


def _has_splits(root: Path) -> bool:
    """Whether the data set has folders or lists of splits already."""
    folders = (split_folder(root, split) for split in SPLITS)
    return bool(lists_of(root)) or any(f is not None and class_folders(f) for f in folders)


def _from_official(
    catalogue: Catalogue, root: Path, found: Official, finder: Finder, names: list[str] | None
) -> None:
    catalogue.official, catalogue.several = found.title, found.several
    catalogue.sides_matter, catalogue.notes = found.sides_matter, list(found.notes)
    labels = Labels(
        found.lists,
        names=names or found.names,
        first_label=found.first_label,
        several=found.several,
    )
    labels.notes.clear()
    places = {split: list(map(finder, part.entries)) for split, part in found.lists.items()}
    fill(catalogue, root, found.lists, places, labels)


def lists_of(root: Path) -> dict[str, list[str]]:
    """The list files that a data set brings along, beside flat folders, by split; one is read."""
    found: dict[str, list[str]] = {}
    for split in SPLITS:
        folder = split_folder(root, split)
        if folder is not None and class_folders(folder):
            continue
        for pattern in _LIST_NAMES:
            file = root / pattern.format(split=split)
            if os.path.isfile(file) or os.path.islink(file):  # one that leads nowhere is an error
                found.setdefault(split, []).append(str(file))
    return found


def _from_folders(
    catalogue: Catalogue, root: Path, index: FolderIndex, names: list[str] | None
) -> None:
    places = {split: folder for split in SPLITS if (folder := split_folder(root, split))}
    catalogue.unsplit = not places
    places = places or {"train": root}
    scans = {split: scan_classes(folder, index=index) for split, folder in places.items()}
    first = next(iter(scans.values()))
    catalogue.class_names = names or order_classes(first)
    for split, scan in scans.items():
        catalogue.records[split] = folder_records(
            scan, catalogue.class_names, split=split, given=names is not None
        )
        direct = dict.fromkeys(str(places[split] / name) for name in scan)
        other = sum((others(index.files(folder)) for folder in direct), Counter[str]())
        if other:
            catalogue.notes.append(f"{split}: {others_text(other)}")
        deep = sum(os.path.dirname(path) not in direct for paths in scan.values() for path in paths)
        if deep:
            lie = "lies in a folder" if deep == 1 else "lie in folders"
            catalogue.notes.append(f"{split}: {counted(deep, 'video')} {lie} below the class")


def split_off(
    catalogue: Catalogue, root: str, *, share: float, seed: int, group: str | None
) -> None:
    """Keep a share of the training videos for validation; see :func:`make_split`."""
    train, val, notes = make_split(
        catalogue.records["train"],
        catalogue.class_names,
        root=root,
        share=share,
        seed=seed,
        group=group,
    )
    catalogue.notes += notes
    for split, records in (("train", train), ("val", val)):
        catalogue.records[split] = records
        _count(catalogue, root, split, records)


def _from_lists(
    catalogue: Catalogue,
    root: Path,
    lists: Mapping[str, ListFile],
    index: FolderIndex,
    names: list[str] | None,
    first_label: int | None,
) -> None:
    found = {split: lists[split] for split in SPLITS if split in lists}
    finders = {split: split_finder(root, split, index) for split in found}
    places = {split: [finders[split](e) for e in part.entries] for split, part in found.items()}
    for split, part in found.items():  # what only may be a comment is one unless there is a file
        kept = [pair for pair in zip(part.entries, places[split], strict=True)
                if pair[1] or not pair[0].doubtful]  # fmt: skip
        found[split] = ListFile(part.file, [replace(e, doubtful=False) for e, _ in kept])
        places[split] = [place for _, place in kept]
    fill(catalogue, root, found, places, Labels(found, names=names, first_label=first_label))


def fill(
    catalogue: Catalogue,
    root: Path,
    lists: Mapping[str, ListFile],
    places: Mapping[str, Sequence[str | None]],
    labels: Labels,
) -> None:
    """Put the lines of lists into a catalogue.

    Args:
        catalogue: changed.
        root: the data set's folder.
        lists: split -> list.
        places: split -> the file of each line; None where it does not exist.
        labels: of these lists.

    Raises:
        DatasetError: a video is listed twice with two labels, or no video of a list exists.
    """
    catalogue.class_names = labels.names
    catalogue.notes += labels.notes
    for split, part in lists.items():
        found: list[Record] = []
        missing: list[Record] = []
        seen: dict[str, tuple[Entry, tuple[int, ...]]] = {}
        for entry, place in zip(part.entries, places[split], strict=True):
            numbers = labels.of(split, entry)
            path = with_span(place or entry.path, entry.span)
            if path in seen:
                _check_again(part, entry, numbers, labels, *seen[path])
                continue
            seen[path] = entry, numbers
            part_of = found if place else missing
            part_of.append(Record(path if place else os.path.join(root, path), numbers))
        if len(seen) < len(part.entries):
            more = len(part.entries) - len(seen)
            lines = counted(more, "repeated line")
            catalogue.notes.append(f"{part.file}: {lines} ignored")
        if not found:
            raise DatasetError(
                f"none of the videos in {part.file} ({len(part.entries)}) is below "
                f"{root} (the first: {part.entries[0].path}); the paths must be relative to the "
                "data folder"
                if part.entries
                else f"the list {part.file} is empty"
            )
        catalogue.records[split], catalogue.missing[split] = found, missing
    _check_shared(lists, places)


def _check_again(
    part: ListFile,
    entry: Entry,
    now: tuple[int, ...],
    labels: Labels,
    first: Entry,
    before: tuple[int, ...],
) -> None:
    if set(before) != set(now):
        one, two = (
            ", ".join(labels.names[n] for n in numbers) or "none" for numbers in (before, now)
        )
        raise DatasetError(
            f"{part.place(entry)}: {entry.path} has the label {two}, in line {first.line} "
            f"{f'of {first.file} ' if first.file != entry.file else ''}it has {one}; keep one, or "
            "write several labels of a video in one line, as 'cook;eat'"
        )


def _check_shared(
    lists: Mapping[str, ListFile],
    places: Mapping[str, Sequence[str | None]],
) -> None:
    """Refuse a training video that is also in another split."""
    if "train" not in lists:
        return
    learnt: dict[str, list[Entry]] = {}
    for entry, place in zip(lists["train"].entries, places["train"], strict=True):
        if place:
            learnt.setdefault(place, []).append(entry)
    for split in lists.keys() - {"train"}:
        for entry, place in zip(lists[split].entries, places[split], strict=True):
            for other in learnt.get(place or "", ()):
                if _overlap(entry, other):
                    raise DatasetError(
                        f"{lists[split].place(entry)}: {entry.path} is a training video, too "
                        f"({lists['train'].place(other)}), so the accuracy on {split} would be "
                        "too high; take it out of one of the two lists"
                    )


def _overlap(one: Entry, two: Entry) -> bool:
    """Whether two entries of one file overlap in time."""
    (a, b), (c, d) = (entry.span or (0.0, None) for entry in (one, two))
    return (d is None or a < d) and (b is None or c < b)


def _count(
    catalogue: Catalogue, root: str | os.PathLike[str], split: str, records: list[Record]
) -> None:
    census = SplitCensus(per_class=dict.fromkeys(catalogue.class_names, 0))
    missing = catalogue.missing.get(split, [])
    census.listed = len(records) + len(missing)
    census.missing = len(missing)
    census.examples = [os.path.relpath(record.path, root) for record in missing[:5]]
    for record in records:
        if is_skipped(record.path, catalogue.skipped):
            census.unreadable += 1
            continue
        census.found += 1
        for label in record.labels:
            census.per_class[catalogue.class_names[label]] += 1
    catalogue.census[split] = census
