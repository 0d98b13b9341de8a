"""From a data set's folder (and lists) to records, class names and a census."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videonl.class_names import normalised, order_classes, read_class_names
from videonl.data.census import SplitCensus, census_values
from videonl.data.lists import Entry, read_list
from videonl.data.records import (
    SPLITS,
    Record,
    check_root,
    class_folders,
    folder_records,
    scan_split,
    split_folder,
)
from videonl.data.skip_list import read_skip_list
from videonl.data.walk import FolderIndex, is_video
from videonl.errors import DatasetError
from videonl.files import write_text
from videonl.json_text import json_text

_LIST_NAMES = ("{split}.csv", "{split}.txt", "{split}.tsv", "annotations/{split}.csv")


@dataclass
class Catalogue:
    """A data set as videonl sees it.

    Attributes:
        class_names: in canonical order.
        records: per split; without the missing files.
        census: per split.
        missing: per split, the files that a list names and that do not exist, as records.
        skipped: absolute path -> reason, from the skip list.
        multi_label: some video has several labels.
    """

    class_names: list[str] = field(default_factory=list)
    records: dict[str, list[Record]] = field(default_factory=dict)
    census: dict[str, SplitCensus] = field(default_factory=dict)
    missing: dict[str, list[Record]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def multi_label(self) -> bool:
        """Whether some video has several labels."""
        return any(len(r.labels) > 1 for records in self.records.values() for r in records)


@dataclass(frozen=True)
class EvaluationSet:
    """The videos of one split; what can not be read counts, too, and is never left out in silence.

    Attributes:
        records: the files, in the order of the folder or list; those on the skip list among them.
        class_names: in the order of the labels' numbers.
        missing: videos that the list names and that do not exist.
        skipped: absolute path -> reason, from the skip list.
        census: how many of what.
    """

    records: list[Record]
    class_names: list[str]
    missing: list[Record]
    skipped: dict[str, str]
    census: SplitCensus


def read_catalogue(
    root: str | os.PathLike[str],
    *,
    lists: Mapping[str, str | None] | None = None,
    class_names: str | Sequence[str] | None = None,
    skip_list: str | None = None,
    cache: Path | None = None,
) -> Catalogue:
    """Read what a data set holds, without opening a video.

    Args:
        root: the folder; with lists, their paths are relative to it (or to ``root/<split>``).
        lists: split -> list file. Default: ``root/<split>.csv``, ``.txt`` or ``.tsv``, or
            ``root/annotations/<split>.csv`` where ``root/<split>`` has no class folders.
        class_names: names, or a file of names, one per line, in the order of their numbers.
        skip_list: default ``root/videonl_skip.tsv`` if it exists.
        cache: folder of the index cache.

    Raises:
        DatasetError: one sentence on what is wrong with the layout, a list or the labels.
    """
    names = read_class_names(class_names) if isinstance(class_names, str) else class_names
    folder = Path(root)
    if not os.path.isdir(folder):
        check_root(folder)  # raises
    chosen = {s: f for s, f in (lists or {}).items() if f} or _find_lists(folder)
    index = FolderIndex(folder, cache=cache)
    catalogue = Catalogue(skipped=read_skip_list(folder, skip_list))
    if chosen:
        _from_lists(catalogue, folder, chosen, index, list(names) if names else None)
    else:
        _from_folders(catalogue, check_root(folder), index, list(names) if names else None)
    index.save()
    for split, records in catalogue.records.items():
        _count(catalogue, split, records)
    return catalogue


def evaluation_set(
    root: str | os.PathLike[str],
    split: str,
    *,
    list_file: str | None = None,
    class_names: str | Sequence[str] | None = None,
    skip_list: str | None = None,
) -> EvaluationSet:
    """The videos of one split of any data set that :func:`read_catalogue` reads.

    Args:
        root: the folder.
        split: ``"train"``, ``"val"`` or ``"test"``.
        list_file: the list of that split; default as in :func:`read_catalogue`.
        class_names: names, or a file of names; needed where a list has numbers.
        skip_list: default ``root/videonl_skip.tsv`` if it exists.

    Raises:
        DatasetError: another layout, an unknown split, or one that is not there.
    """
    if split not in SPLITS:
        raise DatasetError(f"split={split!r} is unknown; use one of {', '.join(SPLITS)}")
    catalogue = read_catalogue(
        root, lists={split: list_file}, class_names=class_names, skip_list=skip_list
    )
    if split not in catalogue.records:
        there = ", ".join(catalogue.records)
        raise DatasetError(f"{root} has no {split} folder or list (it has: {there})")
    return EvaluationSet(
        records=catalogue.records[split],
        class_names=catalogue.class_names,
        missing=catalogue.missing.get(split, []),
        skipped=catalogue.skipped,
        census=catalogue.census[split],
    )


def _find_lists(root: Path) -> dict[str, str]:
    """List files beside flat folders; class folders need none."""
    found = {}
    for split in SPLITS:
        folder = split_folder(root, split)
        if folder is not None and class_folders(folder):
            continue
        for pattern in _LIST_NAMES:
            file = root / pattern.format(split=split)
            if os.path.isfile(file) or os.path.islink(file):  # one that leads nowhere is an error
                found[split] = str(file)
                break
    return found


def _from_folders(
    catalogue: Catalogue, root: Path, index: FolderIndex, names: list[str] | None
) -> None:
    scans = {s: scan_split(root, s, index=index) for s in SPLITS if split_folder(root, s)}
    first = next(iter(scans.values()))
    catalogue.class_names = names or order_classes(first)
    for split, scan in scans.items():
        catalogue.records[split] = folder_records(scan, catalogue.class_names, split=split)


def _from_lists(
    catalogue: Catalogue,
    root: Path,
    lists: Mapping[str, str],
    index: FolderIndex,
    names: list[str] | None,
) -> None:
    entries = {split: read_list(lists[split]) for split in SPLITS if split in lists}
    catalogue.class_names = names or _list_classes(entries, lists)
    number = {normalised(name): i for i, name in enumerate(catalogue.class_names)}
    for split, lines in entries.items():
        find = _Finder(root, split, index)
        found: list[Record] = []
        missing: list[Record] = []
        for entry in lines:
            labels = tuple(_number(label, number, lists[split]) for label in entry.labels)
            path = find(entry)
            record = Record(path or entry.path, labels[0] if labels else None, labels)
            (found if path else missing).append(record)
        if not found:
            raise DatasetError(
                f"none of the {len(lines)} videos of {lists[split]} is below {root} (the first: "
                f"{lines[0].path}); the paths must be relative to the data folder"
            )
        catalogue.records[split], catalogue.missing[split] = found, missing


def _list_classes(entries: Mapping[str, list[Entry]], lists: Mapping[str, str]) -> list[str]:
    """Class names of the first list (train): the names themselves, or the numbers as names."""
    split, lines = next(iter(entries.items()))
    labels = {label for line in lines for label in line.labels}
    if not labels:
        raise DatasetError(f"the list {lists[split]} has no labels")
    if all(isinstance(label, int) for label in labels):
        numbers = {x for part in entries.values() for e in part for x in e.labels}
        return [str(i) for i in range(max(int(x) for x in numbers if isinstance(x, int)) + 1)]
    if any(isinstance(label, int) for label in labels):
        raise DatasetError(f"the list {lists[split]} mixes class numbers and class names")
    return order_classes({str(label) for label in labels if normalised(str(label))})


def _number(label: int | str, number: Mapping[str, int], file: str) -> int:
    if isinstance(label, int):
        if label >= len(number):
            raise DatasetError(
                f"{file} has the class number {label}, but there are {len(number)} classes "
                "(numbered from 0)"
            )
        return label
    found = number.get(normalised(label))
    if found is None:
        raise DatasetError(
            f"{file} has the class {label!r}, which is not among the {len(number)} known ones "
            "(those of the train list)"
        )
    return found


class _Finder:
    """Finds the file of a list's entry without a system call per file."""

    def __init__(self, root: Path, split: str, index: FolderIndex) -> None:
        self.index = index
        folder = split_folder(root, split)
        self.bases = [str(root)] + ([str(folder)] if folder else [])
        self._names: dict[str, frozenset[str]] = {}
        self._stems: dict[str, str] | None = None

    def __call__(self, entry: Entry) -> str | None:
        if entry.by_stem:
            return self._by_stem().get(entry.path)
        for base in self.bases:
            path = os.path.normpath(os.path.join(base, entry.path))
            parent, name = os.path.split(path)
            if parent not in self._names:
                self._names[parent] = frozenset(self.index.files(parent))
            if name in self._names[parent]:
                return path
        return None

    def _by_stem(self) -> dict[str, str]:
        if self._stems is None:
            self._stems = {}
            for base in self.bases:
                folders = [base]
                if base != self.bases[0] or len(self.bases) == 1:
                    folders += [os.path.join(base, name) for name in class_folders(Path(base))]
                for folder in folders:
                    for name in filter(is_video, self.index.files(folder)):
                        self._stems[os.path.splitext(name)[0]] = os.path.join(folder, name)
        return self._stems


def _count(catalogue: Catalogue, split: str, records: list[Record]) -> None:
    census = SplitCensus(per_class=dict.fromkeys(catalogue.class_names, 0))
    missing = catalogue.missing.get(split, [])
    census.listed = len(records) + len(missing)
    census.missing = len(missing)
    census.examples = [record.path for record in missing[:5]]
    for record in records:
        if os.path.abspath(record.path) in catalogue.skipped:
            census.unreadable += 1
            continue
        census.found += 1
        for label in record.labels or ((record.label,) if record.label is not None else ()):
            census.per_class[catalogue.class_names[label]] += 1
    catalogue.census[split] = census


CENSUS = "census.json"


def census_of(catalogue: Catalogue) -> dict[str, Any]:
    """The census of a data set as JSON holds it.

    Args:
        catalogue: of a ``VideoDataModule`` that was set up.

    Returns:
        Per split: listed, found, missing, unreadable; and ``classes``: those three per class.
    """
    content = census_values(catalogue.census)
    for split, part in content.items():
        classes = {
            name: {"found": part["per_class"].get(name, 0), "missing": 0, "unreadable": 0}
            for name in catalogue.class_names
        }
        bad = [(record, "missing") for record in catalogue.missing.get(split, [])]
        bad += [
            (record, "unreadable")
            for record in catalogue.records.get(split, [])
            if os.path.abspath(record.path) in catalogue.skipped
        ]
        for record, kind in bad:
            numbers = record.labels or (() if record.label is None else (record.label,))
            for number in numbers:
                classes[catalogue.class_names[number]][kind] += 1
        del part["per_class"]
        part["classes"] = classes
    return content


def write_census(catalogue: Catalogue, folder: Path) -> None:
    """Write ``census.json`` into the folder of a run."""
    text = json_text(census_of(catalogue), indent=1) + "\n"
    write_text(folder / CENSUS, text)
