"""Data sets as their authors distribute them, recognised by the files of their official lists.

One function per data set; each looks for its lists in the data set's folder and in the folders
directly below it (archives unpack into such), and returns None if they are not there.
"""

import csv
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from videonl.class_names import read_class_names
from videonl.data.labels import ListFile
from videonl.data.lists import Entry, list_lines
from videonl.data.records import Finder
from videonl.data.walk import FolderIndex, listing
from videonl.errors import DatasetError
from videonl.escapes import parse_json
from videonl.files import read_text

SPLIT = " split "  # between the name of a data set and the number of its official split


@dataclass(frozen=True)
class Official:
    """A data set with official lists.

    Attributes:
        name: of the data set.
        lists: split -> list.
        names: of the classes, in official order; None: sorted.
        split: number of the official split; None where there is only one.
        splits: the numbers of all of them; none where there is only one.
        first_label: the number of the first class.
        several: a video may have any number of classes.
        sides_matter: a mirrored clip may belong to another class.
        notes: sentences for the user.
    """

    name: str
    lists: dict[str, ListFile]
    names: list[str] | None = None
    split: int | None = None
    splits: Sequence[int] = ()
    first_label: int | None = None
    several: bool = False
    sides_matter: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Name and split, as stored in a checkpoint."""
        return self.name if self.split is None else f"{self.name}{SPLIT}{self.split}"


class Folders:
    """The data set's folder and those directly below it.

    Attributes:
        finder: finds the videos there.
    """

    def __init__(self, root: Path, index: FolderIndex) -> None:
        self.root = root
        self.places = [root, *(root / name for name in listing(root).folders)]
        self.finder = Finder([str(place) for place in self.places], index)

    def find(self, *names: str) -> Path | None:
        """The first file of one of these names."""
        return next((p / n for n in names for p in self.places if os.path.isfile(p / n)), None)


def lists_there(
    folders: Folders, names: Mapping[str, str], read: Callable[[Path], list[Entry]]
) -> dict[str, ListFile]:
    """The lists that are there, of the names of files by split."""
    files = {split: folders.find(name) for split, name in names.items()}
    return {split: ListFile(str(file), read(file)) for split, file in files.items() if file}


def recognise(
    root: Path, index: FolderIndex, *, split: int | None
) -> tuple[Official, Finder] | None:
    """The data set whose official lists lie in a folder, and a finder of its videos; else None.

    Args:
        root: the folder.
        index: of its listings.
        split: which of several official splits; None: the first.

    Raises:
        DatasetError: no such split, or a list that is not understood.
    """
    folders = Folders(root, index)
    for layout in LAYOUTS:
        found = layout(folders, split)
        if found is None:
            continue
        if split is not None and found.split is None:
            raise DatasetError(
                f"{found.name} has only one official split; leave out --data.official_split {split}"
            )
        return found, folders.finder
    if split is not None:
        raise DatasetError(
            f"--data.official_split {split}: {root} contains no official lists of a data set with "
            "several splits (UCF-101: trainlist01.txt, HMDB-51: <class>_test_split1.txt)"
        )
    return None


def official_splits(root: str | Path) -> list[int]:
    """The numbers of the official splits of a data set that has several.

    Raises:
        DatasetError: it has none, or only one.
    """
    found = recognise(Path(root), FolderIndex(root), split=None)
    if found is None or not found[0].splits:
        what = f"{root} contains no official lists of a data set with several splits"
        what = f"{found[0].name} has only one official split" if found else what
        raise DatasetError(f"{what}; give --folds K")
    return list(found[0].splits)


def chosen_split(name: str, split: int | None, there: set[int]) -> int:
    """The split that was asked for, if its lists are there.

    Raises:
        DatasetError: they are not.
    """
    wanted = min(there) if split is None else split
    if wanted not in there:
        listed = ", ".join(map(str, sorted(there)))
        raise DatasetError(f"--data.official_split {wanted}: {name} here has the splits {listed}")
    return wanted


def measured_twice(name: str, split: int, there: set[int]) -> list[str]:
    """The note for a data set that has only a training list and a test list."""
    return [
        f"{name}, official split {split} of {len(there)}; it has no validation list, so the test "
        "list is used for validation too, and best.ckpt is chosen on it"
    ]


def split_of(then: Any, now: str | None) -> int | None:
    """The official split that a network was trained on; None if the data set is another one.

    Example:
        >>> split_of("UCF-101 split 2", "UCF-101 split 1")
        2
    """
    if now is None or not isinstance(then, str):
        return None
    (name, _, _), (other, _, number) = now.rpartition(SPLIT), then.rpartition(SPLIT)
    return int(number) if name and name == other and number.isdecimal() else None


def check_split(now: str | None, then: Any, *, source: str) -> None:
    """Refuse a test on another official split, which contains training videos.

    Args:
        now: data set and split, as in ``Catalogue.official``; None where there is none.
        then: likewise, of the training.
        source: the checkpoint, for the message.

    Raises:
        DatasetError: the same data set, but another split.
    """
    trained = split_of(then, now)
    if now is not None and trained is not None and now != then:
        name, _, split = now.rpartition(SPLIT)
        raise DatasetError(
            f"{source} was trained on {name}, official split {trained}; the test list of split "
            f"{split} contains training videos of it: give --data.official_split {trained}"
        )


def ucf101(folders: Folders, split: int | None) -> Official | None:
    """UCF-101: ``trainlist0k.txt`` with numbers from 1, ``testlist0k.txt`` without labels."""
    there = {n for n in range(1, 10) if folders.find(f"trainlist0{n}.txt")}
    if not there:
        return None
    number = chosen_split("UCF-101", split, there)
    learnt, tested = f"trainlist0{number}.txt", f"testlist0{number}.txt"
    names = {"train": learnt, "val": tested, "test": tested}
    index = folders.find("classInd.txt")
    lists = lists_there(folders, names, _path_lines)
    alone = f"UCF-101, official split {number} of {len(there)}; {tested} is not there"
    return Official(
        "UCF-101",
        lists,
        names=read_class_names(index) if index else None,
        split=number,
        splits=sorted(there),
        first_label=1,
        notes=measured_twice("UCF-101", number, there) if "test" in lists else [alone],
    )


def _path_lines(file: Path) -> list[Entry]:
    entries = []
    for number, line in list_lines(file):
        path, _, label = line.strip().rpartition(" ")
        if not re.fullmatch(r"\d+", label) or not path:
            path, label = line.strip(), ""
        entries.append(Entry(path.strip(), (int(label),) if label else (), line=number))
    return entries


HMDB_LIST = re.compile(r"(.+)_test_split(\d)\.txt")


def hmdb51(folders: Folders, split: int | None) -> Official | None:
    """HMDB-51: ``<class>_test_split<k>.txt``, ``name 1`` (train), ``2`` (test), ``0`` (none)."""
    found: dict[int, dict[str, Path]] = {}
    for place in folders.places:
        for name in os.listdir(place) if os.access(place, os.R_OK | os.X_OK) else ():
            if match := HMDB_LIST.fullmatch(name):
                found.setdefault(int(match[2]), {})[match[1]] = place / name
    if not found:
        return None
    number = chosen_split("HMDB-51", split, set(found))
    parts: dict[str, list[Entry]] = {"1": [], "2": [], "0": []}
    for label, file in sorted(found[number].items()):
        for line, text in list_lines(file):
            name, _, mark = text.strip().rpartition(" ")
            if mark not in parts or not name.strip():
                raise DatasetError(
                    f"{file}, line {line}: {text!r} is not 'name 0', 'name 1' (train) or 'name 2' "
                    "(test)"
                )
            path = f"{label}/{name.strip()}"
            parts[mark].append(Entry(path, (label,), line=line, file=str(file), bare=True))
    folder = str(next(iter(found[number].values())).parent)
    lists = {
        part: ListFile(folder, parts[mark])
        for part, mark in (("train", "1"), ("val", "2"), ("test", "2"))
    }
    notes = measured_twice("HMDB-51", number, set(found))
    return Official(
        "HMDB-51",
        lists,
        split=number,
        splits=sorted(found),
        names=sorted(found[number]),
        notes=notes,
    )


def something_v2(folders: Folders, split: int | None) -> Official | None:  # noqa: ARG001
    """Something-Something v2 (or v1 as JSON): a list of ``id`` and ``template`` per split."""
    for version in ("2", "1"):
        prefix = f"something-something-v{version}-"
        files = {
            part: folders.find(f"{prefix}{name}.json", f"{name}.json")
            for part, name in (("train", "train"), ("val", "validation"), ("test", "test"))
        }
        parts = {part: _json_list(file) for part, file in files.items() if file is not None}
        lists = {part: found for part, found in parts.items() if found is not None}
        if "train" not in lists:
            continue
        answers = folders.find("test-answers.csv")
        if answers is not None:
            lists["test"] = ListFile(str(answers), _id_lines(answers))
        labels = folders.find(f"{prefix}labels.json", "labels.json")
        return _something(folders, version, lists, labels)
    return None


def something_v1(folders: Folders, split: int | None) -> Official | None:  # noqa: ARG001
    """Something-Something v1: ``id;label`` lines per split."""
    prefix = "something-something-v1-"
    names = {"train": "train", "val": "validation", "test": "test"}
    files = {split: f"{prefix}{name}.csv" for split, name in names.items()}
    lists = lists_there(folders, files, _id_lines)
    if "train" not in lists:
        return None
    return _something(folders, "1", lists, folders.find(f"{prefix}labels.csv"))


def _something(
    folders: Folders, version: str, lists: dict[str, ListFile], labels: Path | None
) -> Official:
    name = f"Something-Something v{version}"
    first = lists["train"].entries[0]
    if folders.finder(first) is None:
        for place in folders.places:
            if os.path.isdir(place / first.path):
                raise DatasetError(
                    f"{place / first.path} is a folder of frames; videonl reads video files: make "
                    f"one of each, as ffmpeg -framerate 12 -i {first.path}/%05d.jpg "
                    f"{first.path}.mp4"
                )
    return Official(
        name,
        lists,
        names=[plain_template(text) for text in read_class_names(labels)] if labels else None,
        sides_matter=True,
        notes=[f"{name}: left and right matter, so no clip is mirrored"],
    )


def plain_template(text: str) -> str:
    """A label in the spelling of ``labels.json``.

    Example:
        >>> plain_template("Moving [something] away from [something]")
        'Moving something away from something'
    """
    return text.replace("[", "").replace("]", "").strip()


def _json_list(file: Path) -> ListFile | None:
    """The entries of a list of objects with an ``id``; None where it is something else.

    Raises:
        DatasetError: it cannot be read, or an entry of it has no id.
    """
    try:
        text = read_text(file)
        found = parse_json(text)
    except (OSError, ValueError) as error:
        raise DatasetError(f"the list {file} cannot be read as JSON ({error})") from error
    if not isinstance(found, list) or not found:
        return None
    if not isinstance(found[0], Mapping) or "id" not in found[0]:
        return None
    lines = [n for n, line in enumerate(text.split("\n"), 1) for _ in re.findall(r'"id"\s*:', line)]
    entries = []
    for number, item in enumerate(found):
        line = lines[number] if len(lines) == len(found) else number + 1
        if not isinstance(item, Mapping) or "id" not in item:
            raise DatasetError(f"{file}, entry {number + 1}: {str(item)[:80]} has no id")
        label = plain_template(str(item.get("template") or item.get("label") or ""))
        entries.append(Entry(str(item["id"]), (label,) if label else (), by_stem=True, line=line))
    return ListFile(str(file), entries)


def _id_lines(file: Path) -> list[Entry]:
    entries = []
    for number, line in list_lines(file):
        name, _, label = line.strip().partition(";")
        label = plain_template(label.strip('"'))
        entries.append(Entry(name.strip(), (label,) if label else (), by_stem=True, line=number))
    return entries


ACTION = re.compile(r"\s*(c\d+)\s+(-?[\d.]+)\s+(-?[\d.]+)\s*")


def charades(folders: Folders, split: int | None) -> Official | None:  # noqa: ARG001
    """Charades: a csv with ``id`` and ``actions`` (``c092 11.90 21.20;…``), several a video."""
    learnt, tested = "Charades_v1_train.csv", "Charades_v1_test.csv"
    if folders.find(learnt) is None:
        return None
    classes = folders.find("Charades_v1_classes.txt")
    names: dict[str, str] = {}
    for number, line in list_lines(classes) if classes else ():
        code, _, name = line.strip().partition(" ")
        if not re.fullmatch(r"c\d+", code) or not name:
            raise DatasetError(f"{classes}, line {number}: {line!r} is not 'c000 name'")
        names[code] = name.strip()
    files = {"train": learnt, "val": tested, "test": tested}
    lists = lists_there(folders, files, partial(_charades_rows, names=names))
    if not names:
        codes = {str(x) for part in lists.values() for e in part.entries for x in e.labels}
        names = {code: code for code in sorted(codes)}
    notes = [
        "Charades: every video has the classes of all its actions; the test list is used for "
        "validation too"
    ]
    return Official("Charades", lists, names=list(names.values()), several=True, notes=notes)


def _charades_rows(file: Path, names: Mapping[str, str]) -> list[Entry]:
    list_lines(file)  # an empty file, or a pointer
    rows = csv.DictReader(io.StringIO(read_text(file)))
    if not {"id", "actions"} <= set(rows.fieldnames or ()):
        raise DatasetError(f"{file}, line 1: a csv of Charades has the columns id and actions")
    entries = []
    for row in rows:
        labels = []
        for action in filter(str.strip, (row["actions"] or "").split(";")):
            match = ACTION.fullmatch(action)
            if match is None or (names and match[1] not in names):
                raise DatasetError(
                    f"{file}, line {rows.line_num}: {action!r} is not 'class start end' with one "
                    f"of the {len(names) or 157} classes"
                )
            labels.append(names.get(match[1], match[1]))
        kept = tuple(dict.fromkeys(labels))
        entries.append(Entry(row["id"], kept, by_stem=True, line=rows.line_num))
    return entries


LAYOUTS: tuple[Callable[[Folders, int | None], Official | None], ...] = (
    ucf101,
    hmdb51,
    something_v2,
    something_v1,
    charades,
)
