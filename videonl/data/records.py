"""Records: which video file belongs to which class. Reads folders; lists are in lists.py."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from videonl.class_names import ClassNumbers
from videonl.data.labels import ListFile
from videonl.data.lists import Entry
from videonl.data.walk import (
    VIDEO_EXTENSIONS,
    FolderIndex,
    as_spelled,
    composed,
    is_video,
    listing,
    why_lost,
)
from videonl.errors import DatasetError
from videonl.shares import counted, few

SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
SPLIT_FOLDERS = frozenset(name for names in _SPLIT_NAMES.values() for name in names)


@dataclass(frozen=True)
class Record:
    """A video file and what it shows.

    Attributes:
        path: the file, or a part of it (``a.mp4#t=1.5,4``, see ``videonl.video``).
        labels: its class numbers; none if unknown.
    """

    path: str
    labels: tuple[int, ...] = ()

    @property
    def label(self) -> int | None:
        """The first of them."""
        return self.labels[0] if self.labels else None


def split_folder(root: Path, split: str) -> Path | None:
    """``root/train`` (or ``training`` …) if it exists.

    Raises:
        DatasetError: it is a link that leads nowhere, or to where permission is missing.
    """
    for name in _SPLIT_NAMES[split]:
        folder = root / name
        if os.path.isdir(folder):
            return folder
        if os.path.islink(folder) and not os.path.exists(folder):
            raise DatasetError(f"{folder}: {why_lost(folder)}; mount it, or remove the link")
    return None


def list_videos(folder: Path, *, index: FolderIndex | None = None, deep: bool = False) -> list[str]:
    """Paths of the video files in a folder, sorted.

    Args:
        folder: links are followed.
        index: cached listings.
        deep: include those in folders below it; not a link to a folder on the way to it.
    """
    index = index or FolderIndex(folder)
    found: list[str] = []
    stack: list[tuple[str, list[Path]]] = [(str(folder), [])]
    while stack:
        place, above = stack.pop()
        found += [os.path.join(place, name) for name in index.files(place) if is_video(name)]
        below = index.folders(place) if deep else []
        above = [*above, Path(os.path.realpath(place))] if below else above
        for path in (os.path.join(place, name) for name in reversed(below)):
            around = os.path.realpath(path)
            if not any(one.is_relative_to(around) for one in above):
                stack.append((path, above))
    return found


def class_folders(split: Path) -> list[str]:
    """Names of the class folders of a split, sorted.

    Raises:
        DatasetError: the split cannot be listed, or a class is a link that leads nowhere.
    """
    found = listing(split)
    if found.lost:
        place = split / found.lost[0]
        raise DatasetError(
            f"{place}: {why_lost(place)}, so a class would be missing; mount it, or remove the link"
        )
    return found.folders


def check_root(root: str | os.PathLike[str]) -> Path:
    """The data set's folder: ``root/{train,val,test}/<class>/<video>`` or ``root/<class>/<video>``.

    Raises:
        DatasetError: one sentence that says what is there instead, and what to do.
    """
    folder = Path(root)
    if not os.path.isdir(folder):
        try:
            os.stat(folder)
            state = "is a file"
        except FileNotFoundError:
            state = "does not exist"
        except OSError as error:
            state = f"cannot be opened ({error.strerror})"
        raise DatasetError(f"the data folder {folder} {state}; give the folder that holds train/")
    if any(split_folder(folder, split) for split in SPLITS):
        return folder
    found = listing(folder)
    classes = [name for name in found.folders if list_videos(folder / name, deep=True)]
    want = f"videonl reads {folder.name}/{{train,val,test}}/<class>/<video file>"
    if classes:
        return folder
    if any(is_video(name) for name in found.files):
        raise DatasetError(f"{folder} contains video files, but no class folders or list; {want}")
    if not found.files and not found.folders:
        raise DatasetError(f"the data folder {folder} is empty; {want}")
    raise DatasetError(
        f"{folder} contains no train, val or test folder "
        f"(it contains {few(sorted([*found.files, *found.folders]))}); {want}"
    )


def check_still_there(root: str) -> None:
    """Refuse to count videos as unreadable if their whole folder has gone.

    Raises:
        DatasetError: it has.
    """
    if not os.path.isdir(root):
        raise DatasetError(f"the data folder {root} is gone")


def scan_classes(folder: Path, *, index: FolderIndex) -> dict[str, list[str]]:
    """Class folder name -> the video files in it and below it.

    Raises:
        DatasetError: there are no class folders or no videos, or they lie one level deeper.
    """
    found = {n: list_videos(folder / n, index=index, deep=True) for n in class_folders(folder)}
    if not found:
        loose = list_videos(folder, index=index)
        loose_videos = f"{counted(len(loose), 'video')} without class folders"
        what = loose_videos if loose else "nothing to read"
        raise DatasetError(f"{folder} contains {what}; put the videos into {folder.name}/<class>/")
    if not any(found.values()):
        raise DatasetError(
            f"the class folders of {folder} contain no video files "
            f"({', '.join(sorted(VIDEO_EXTENSIONS))})"
        )
    if len(found) == 1:
        (name,) = found
        inner = [n for n in index.folders(folder / name) if list_videos(folder / name / n)]
        if len(inner) > 1 and not list_videos(folder / name):
            raise DatasetError(
                f"the videos lie one level too deep, in {folder / name}/<class>/ ({few(inner)}); "
                f"move these folders to {folder}/"
            )
    return found


def folder_records(
    scan: dict[str, list[str]], class_names: Sequence[str], *, split: str, given: bool = False
) -> list[Record]:
    """The records of a split, classes in the order of ``class_names``.

    Args:
        scan: class -> its videos.
        class_names: in the order of their numbers.
        split: of the videos.
        given: whether somebody gave these names; else they are those of train/.

    Raises:
        DatasetError: the split has a class that is not among ``class_names``.
    """
    number = ClassNumbers(class_names)
    strange = [name for name in scan if scan[name] and name not in number]
    if strange:
        known = "the class names that were given" if given else "the classes of train/"
        raise DatasetError(
            f"{split}/ has classes that are not among {known}: {few(strange)}; add them to "
            f"{known.removeprefix('the classes of ')} or remove them from {split}/"
        )
    number.check_spellings(name for name in scan if scan[name])
    return [
        Record(path, (number[name],))
        for name in sorted(filter(number.__contains__, scan), key=number.__getitem__)
        for path in scan[name]
    ]


def folder_list(root: Path, split: str, index: FolderIndex) -> ListFile | None:
    """The class folders of a split as a list that names the class of every video; else None.

    Raises:
        DatasetError: see :func:`scan_classes`.
    """
    folder = split_folder(root, split)
    if folder is None or not class_folders(folder):
        return None
    scan = scan_classes(folder, index=index)
    entries = [Entry(os.path.relpath(p, root), (name,)) for name in scan for p in scan[name]]
    return ListFile(str(folder), entries)


class Finder:
    """Finds the file of a list's entry without a system call per file.

    Args:
        bases: folders that the paths may be relative to.
        index: of the data set.
        deeper: folders in which a name without folder and extension may lie, too.
    """

    def __init__(
        self, bases: Sequence[str], index: FolderIndex, *, deeper: Sequence[str] = ()
    ) -> None:
        self.index, self.bases, self.deeper = index, list(bases), list(deeper)
        self._names: dict[str, frozenset[str]] = {}
        self._composed: dict[str, dict[str, str]] = {}
        self._stems: dict[str, str] | None = None

    def __call__(self, entry: Entry) -> str | None:
        """The path of the file; None where it does not exist."""
        if entry.by_stem:
            return self._by_stem().get(composed(entry.path))
        ways = [entry.path]
        if "\\" in entry.path:  # a list that was written on Windows
            ways.append(entry.path.replace("\\", "/"))
        if entry.bare:
            ways.append(os.path.basename(entry.path))
        tries = list(product(self.bases, ways))
        for base, way in tries:
            path = os.path.normpath(os.path.join(base, way))
            if self._is_file(path):
                return path
        for base, way in tries:
            spelled = as_spelled(way, base=base, names=self._composed_names)
            if spelled and self._is_file(spelled):
                return spelled
        return None

    def _is_file(self, path: str) -> bool:
        parent, name = os.path.split(path)
        if parent not in self._names:
            self._names[parent] = frozenset(self.index.files(parent))
        return name in self._names[parent]

    def _composed_names(self, folder: str) -> dict[str, str]:
        if folder not in self._composed:
            names = [*self.index.folders(folder), *self.index.files(folder)]
            self._composed[folder] = {composed(name): name for name in names}
        return self._composed[folder]

    def _by_stem(self) -> dict[str, str]:
        if self._stems is None:
            self._stems = {}
            for folder in (*self.bases, *self.deeper):
                for name in filter(is_video, self.index.files(folder)):
                    stem = composed(os.path.splitext(name)[0])
                    self._stems.setdefault(stem, os.path.join(folder, name))
        return self._stems


def split_finder(root: Path, split: str, index: FolderIndex) -> Finder:
    """Finds the files of a list that lies beside ``root/<split>``."""
    folder = split_folder(root, split)
    bases = [str(root)] + ([str(folder)] if folder else [])
    below = Path(bases[-1])
    return Finder(bases, index, deeper=[str(below / name) for name in class_folders(below)])
