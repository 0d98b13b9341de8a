"""What the labels of lists mean: the classes and their numbers, or an error before the start.

Lists name classes or number them, from 0 or from 1, and some leave them out because the folder is
the class. A wrong guess would train without an error to a validation accuracy of 0 %, so nothing is
guessed: a reading is used only where the lists allow no other.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from videonl.class_names import ClassNumbers, order_classes
from videonl.data.lists import Entry
from videonl.errors import DatasetError
from videonl.shares import counted

MOST_CLASSES = 100_000  # of numbers without names; more is an identifier of something else


@dataclass(frozen=True)
class ListFile:
    """A list that was read.

    Attributes:
        file: its path, for messages.
        entries: its lines.
    """

    file: str
    entries: list[Entry]

    def place(self, entry: Entry) -> str:
        """Where a line stands, for messages."""
        return f"{entry.file or self.file}, line {entry.line}"


class Labels:
    """The classes of some lists, and the class numbers of each of their lines.

    Args:
        lists: split -> list, the one that defines the classes (train) first.
        names: of the classes, in the order of their numbers; None: those of the first list.
        first_label: the number of the first class in lists; None: 0, or 1 where that is certain.
        several: a video may have no class.

    Attributes:
        names: of the classes.
        notes: how lists were read, where that is not obvious.

    Raises:
        DatasetError: the labels contradict each other, or are ambiguous.
    """

    def __init__(
        self,
        lists: Mapping[str, ListFile],
        *,
        names: Sequence[str] | None,
        first_label: int | None = None,
        several: bool = False,
    ) -> None:
        self._lists, self.notes = lists, list[str]()
        kinds = {split: _kind(part, several=several) for split, part in lists.items()}
        labelled = [split for split, kind in kinds.items() if kind]
        self._folders = _folder_numbers(lists[labelled[0]]) if labelled else {}
        self._first = self._first_number(labelled, names, first_label)
        if not names and not labelled:
            names = _folder_classes(next(iter(lists.values())))
        self.names = list(names) if names else self._names_of(lists[labelled[0]], kinds)
        self._number = ClassNumbers(self.names)
        entries = (entry for part in lists.values() for entry in part.entries)
        self._number.check_spellings(x for e in entries for x in e.labels if isinstance(x, str))
        for split in labelled[1:]:
            if not names and kinds[split] != kinds[labelled[0]]:
                self._refuse_kinds(lists[labelled[0]], lists[split])

    def of(self, split: str, entry: Entry) -> tuple[int, ...]:
        """The class numbers of a line; empty if nothing determines them.

        Raises:
            DatasetError: an unknown class.
        """
        part = self._lists[split]
        if not entry.labels:
            number = self._by_folder(entry)
            return () if number is None else (number,)
        found = tuple(dict.fromkeys(self._one(label, part, entry) for label in entry.labels))
        self._check_folder(found, part, entry)
        return found

    def _one(self, label: int | str, part: ListFile, entry: Entry) -> int:
        if isinstance(label, int):
            if 0 <= label - self._first < len(self.names):
                return label - self._first
            way = (
                "; the list counts from 1: give --data.first_label 1"
                if label == len(self.names) and not any(0 in e.labels for e in part.entries)
                else ""
            )
            raise DatasetError(
                f"{part.place(entry)} has the class number {label}, but there are "
                f"{counted(len(self.names), 'class')} (numbered from {self._first}){way}"
            )
        number = self._number.get(label)
        if number is None:
            raise DatasetError(
                f"{part.place(entry)} has the class {label!r}, which is not among the known "
                "classes (those of the class names, or else of the train list)"
            )
        return number

    def _by_folder(self, entry: Entry) -> int | None:
        folder = _folder(entry)
        if folder in self._folders:
            return self._folders[folder][0] - self._first
        return self._number.get(folder) if folder else None

    def _check_folder(self, found: tuple[int, ...], part: ListFile, entry: Entry) -> None:
        known = self._folders.get(_folder(entry))
        if known and isinstance(entry.labels[0], int) and found != (known[0] - self._first,):
            first = next(iter(self._lists.values()))
            raise DatasetError(
                f"{part.place(entry)}: {entry.path} has the class number {entry.labels[0]}, but "
                f"line {known[1]} of {first.file} gives this folder {known[0]}; use the same "
                "numbers in both lists"
            )

    def _names_of(self, part: ListFile, kinds: Mapping[str, str]) -> list[str]:
        """Class names of the first list: the names themselves, or the numbers as names."""
        labels = {label for entry in part.entries for label in entry.labels}
        numbers = {label for label in labels if isinstance(label, int)}
        if not numbers:
            return order_classes(str(label) for label in labels)
        if (most := max(numbers)) > MOST_CLASSES:
            entry = next(entry for entry in part.entries if most in entry.labels)
            raise DatasetError(
                f"{part.place(entry)} has the class number {most}; numbers up to {MOST_CLASSES} "
                "are read, and each one is an output of the network: number the classes from 0"
            )
        by_folder = {number: folder for folder, (number, _) in self._folders.items()}
        if not all(kinds.values()) and len(by_folder) == max(numbers) - self._first + 1:
            return [by_folder[number] for number in sorted(by_folder)]
        return [str(number) for number in range(self._first, max(numbers) + 1)]

    def _first_number(
        self, labelled: Sequence[str], names: Sequence[str] | None, given: int | None
    ) -> int:
        """The number of the first class in the lists."""
        if given is not None:
            return given
        pairs = [(entry, label) for split in labelled for entry in self._lists[split].entries
                 for label in entry.labels if isinstance(label, int)]  # fmt: skip
        numbers = {label for _, label in pairs}
        if not numbers or min(numbers) != 1:
            return 0
        whole = numbers == set(range(1, len(numbers) + 1))
        if (names and max(numbers) == len(names)) or (
            whole and len(self._folders) == len(numbers) > 1
        ):
            self.notes.append(f"the lists number the {counted(max(numbers), 'class')} from 1")
            return 1
        part = self._lists[labelled[0]]
        entry = next((e for e in part.entries if 1 in e.labels), None)
        if labelled[0] != "train" or entry is None:
            return 0
        raise DatasetError(
            f"{part.place(entry)}: the class numbers of this list begin at 1; if it counts from "
            "1, give --data.first_label 1; if class 0 just has no video, --data.first_label 0"
        )

    def _refuse_kinds(self, first: ListFile, other: ListFile) -> None:
        one, two = (next(e for e in part.entries if e.labels) for part in (first, other))
        raise DatasetError(
            f"{other.place(two)} has the label {two.labels[0]!r}, but {first.place(one)} has "
            f"{one.labels[0]!r}: one list numbers the classes, the other names them; give the "
            "names in the order of their numbers with --data.class_names_file"
        )


def _folder(entry: Entry) -> str:
    """The name of the folder that a list says a video lies in."""
    return os.path.basename(os.path.dirname(os.path.normpath(entry.path.replace("\\", "/"))))


def _kind(part: ListFile, *, several: bool) -> str:
    """``"numbers"``, ``"names"``, or nothing where no line has a label.

    Raises:
        DatasetError: some lines have one, others not; or both kinds stand in one list.
    """
    sure = [entry for entry in part.entries if not entry.doubtful]
    with_one = [entry for entry in sure if entry.labels]
    if with_one and len(with_one) < len(sure) and not several:
        bare = next(entry for entry in sure if not entry.labels)
        raise DatasetError(
            f"{part.place(bare)}: {bare.path} has no label, but other lines have one; add it, or "
            "take the line out"
        )
    kinds = {type(label): entry for entry in with_one for label in entry.labels}
    if len(kinds) > 1:
        raise DatasetError(
            f"the list {part.file} mixes class numbers and class names (lines {kinds[int].line} "
            f'and {kinds[str].line}); write a name that consists of digits in quotes: "7"'
        )
    return {int: "numbers", str: "names"}[next(iter(kinds))] if kinds else ""


def _folder_numbers(part: ListFile) -> dict[str, tuple[int, int]]:
    """Folder -> (class number, first line), where every class has a folder of its own."""
    found: dict[str, tuple[int, int]] = {}
    for entry in part.entries:
        folder = _folder(entry)
        if entry.doubtful:
            continue
        if len(entry.labels) != 1 or not isinstance(entry.labels[0], int) or not folder:
            return {}
        if found.setdefault(folder, (entry.labels[0], entry.line))[0] != entry.labels[0]:
            return {}
    numbers = {number for number, _ in found.values()}
    return found if len(found) == len(numbers) > 1 else {}


def _folder_classes(part: ListFile) -> list[str]:
    """The classes of a list without labels: its folders.

    Raises:
        DatasetError: they are not.
    """
    folders = {_folder(entry) for entry in part.entries if not entry.doubtful}
    if "" in folders or len(folders) < 2:
        entry = part.entries[0]
        raise DatasetError(
            f"the list {part.file} has no labels (line {entry.line}: {entry.path}), and the "
            "folders of its videos do not determine the classes; write 'path label' lines"
        )
    return order_classes(folders)
