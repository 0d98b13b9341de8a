"""List folders: the one place that does, for training and for every command.

Links are followed. A name with a video's extension counts even if it cannot be opened, for instance
a link into a disk that is not mounted: opening it reports that it is missing. A folder that cannot
be listed is an error or is reported as lost; nothing is left out silently.

Listings are cached, so that a data set of 240,000 files starts in seconds.

A folder's modification time changes when a file is added, removed or renamed in it, its change time
when its permissions do, and a link that is pointed at another folder leads to another inode. So
a cached listing of the same inode and times is valid. One JSON file per data set lies in the
user's cache folder (``$VIDEONL_CACHE``, else ``~/.cache/videonl``), never in the data set itself.
"""

import hashlib
import json
import os
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from videonl.errors import DatasetError, OutputError
from videonl.escapes import parse_json
from videonl.files import cache_folder, write_text
from videonl.shares import counted

VIDEO_EXTENSIONS = frozenset(  # of the containers in videonl/video/decoding/container.py, FORMATS
    {
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mj2"),
        *(".mkv", ".mk3d", ".webm", ".avi", ".divx", ".flv", ".ogv", ".ogg", ".ogm"),
        *(".ts", ".mts", ".m2ts", ".m2t", ".tp", ".trp", ".mpg", ".mpeg", ".mpe", ".vob"),
        *(".m2p", ".m1v", ".m2v", ".mpv", ".asf", ".wmv", ".gif", ".ivf", ".mxf"),
        *(".h264", ".264", ".avc", ".hevc", ".h265", ".265"),
    }
)
_EXTENSION = re.compile(r"\.\w{1,5}")  # of a file; the name of a class may hold a dot, too


def is_video(name: str, extensions: Iterable[str] = VIDEO_EXTENSIONS) -> bool:
    """Whether a file name has the extension of a video (and is not hidden)."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in extensions


@dataclass(frozen=True)
class Listing:
    """Names in one folder, each sorted.

    Attributes:
        files: everything that is not a folder, including links that lead nowhere.
        folders: folders and links to folders, without hidden ones.
        lost: links that may be folders but lead nowhere, or to where permission is missing.
    """

    files: list[str]
    folders: list[str]
    lost: list[str]


def list_folder(folder: str | os.PathLike[str]) -> Listing:
    """List a folder.

    Raises:
        OSError: it is not there, or there is no permission to list it.
    """
    files, folders, lost = [], [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if _is_folder(entry):
                if not name.startswith("."):
                    folders.append(name)
                continue
            files.append(name)
            if entry.is_symlink() and _like_a_folder(name) and not os.path.exists(entry.path):
                lost.append(name)
    return Listing(sorted(files), sorted(folders), sorted(lost))


def _like_a_folder(name: str) -> bool:
    return not name.startswith(".") and not _EXTENSION.fullmatch(os.path.splitext(name)[1])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into a folder without permission
        return False


def composed(text: str) -> str:
    """A name with every accent in its letter; macOS and its archives have it behind the letter."""
    return unicodedata.normalize("NFC", text)


def names_in(folder: str) -> dict[str, str]:
    """Composed name -> name of what lies in a folder; empty if it cannot be listed."""
    try:
        return {composed(name): name for name in os.listdir(folder or os.curdir)}
    except OSError:
        return {}


def as_spelled(
    path: str, *, base: str = "", names: Callable[[str], Mapping[str, str]] = names_in
) -> str | None:
    """The path of what is there by this path but for how accents are encoded; None: nothing is.

    Args:
        path: that leads nowhere.
        base: what it is relative to.
        names: as ``names_in``.
    """
    if path.isascii():
        return None
    place, rest = base, path
    if os.path.isabs(path):
        place, rest = os.path.splitdrive(path)[0] + os.sep, os.path.splitdrive(path)[1]
    for part in os.path.normpath(rest).strip(os.sep).split(os.sep):
        name = part if part == os.pardir else names(place).get(composed(part))
        if name is None:
            return None
        place = os.path.join(place, name)
    return place


@dataclass(frozen=True)
class Walk:
    """A folder and everything below it.

    Attributes:
        videos: paths of all files with a video's extension, folder by folder.
        folders: paths of all folders that could be listed, the starting one first.
        lost: path of a folder that could not be listed -> reason.
        other: extension -> number of files that are not videos.
    """

    videos: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    other: Counter[str] = field(default_factory=Counter)


def others(names: Iterable[str]) -> Counter[str]:
    """Files that are not videos, not hidden and not written by videonl, by extension."""
    return Counter(
        os.path.splitext(name)[1].lower() or "without extension"
        for name in names
        if not is_video(name) and not name.startswith((".", "videonl_"))
    )


def others_text(other: Counter[str]) -> str:
    """For instance ``12 other files left out: .jpg (11), .txt (1)``."""
    kinds = ", ".join(f"{kind} ({number})" for kind, number in other.most_common(5))
    more = f" and {counted(len(other) - 5, 'more kind')}" if len(other) > 5 else ""
    return f"{counted(other.total(), 'other file')} left out: {kinds}{more}"


def walk(root: str | os.PathLike[str], *, extensions: Iterable[str] = VIDEO_EXTENSIONS) -> Walk:
    """Look through a folder and all folders below it, links to folders included.

    A folder that contains itself by a link is not entered again.

    Args:
        root: where to begin.
        extensions: what a video is called, in lower case.
    """
    found, wanted = Walk(), frozenset(extensions)
    stack: list[tuple[str, frozenset[tuple[int, int]]]] = [(os.fspath(root), frozenset())]
    while stack:
        folder, above = stack.pop()
        try:
            status = os.stat(folder)
            here = (status.st_dev, status.st_ino)
            if here in above:
                continue
            listing = list_folder(folder)
        except OSError as error:
            found.lost[folder] = reason(error)
            continue
        found.folders.append(folder)
        found.videos.extend(
            os.path.join(folder, name) for name in listing.files if is_video(name, wanted)
        )
        found.other.update(others(listing.files))
        for path in (os.path.join(folder, name) for name in listing.lost):
            found.lost[path] = why_lost(path)
        below = above | {here}
        stack += [(os.path.join(folder, name), below) for name in reversed(listing.folders)]
    return found


def why_lost(path: str | os.PathLike[str]) -> str:
    """Why a link leads nowhere."""
    try:
        os.stat(path)
    except FileNotFoundError:
        with suppress(OSError):
            return f"the link leads to {os.readlink(path)}, which does not exist"
        return "it was removed meanwhile"
    except OSError as error:
        return reason(error)
    return "it is there again"


def reason(error: OSError) -> str:
    """The system's message for a folder that cannot be listed."""
    if isinstance(error, PermissionError):
        return "no permission to list this folder"
    return error.strerror or str(error)


def walk_data(root: str | os.PathLike[str]) -> Walk:
    """:func:`walk` through a data set, by absolute paths.

    Raises:
        DatasetError: no such folder, or no video in it.
    """
    folder = os.path.abspath(root)
    if not os.path.isdir(folder):
        raise DatasetError(f"{root} is not a folder; give the folder of a data set")
    found = walk(folder)
    found.videos.sort()
    if not found.videos:
        hint = "; ".join(f"{path}: {why}" for path, why in list(found.lost.items())[:3])
        raise DatasetError(f"{root} contains no video files" + (f" ({hint})" if hint else ""))
    return found


_VERSION = 3
_WORTH_KEEPING = 2000  # files; below, listing is as fast as reading the cache
_SETTLED_NS = 2_000_000_000  # a folder changed within 2 s may change again within one tick


Stamp = list[int]  # device, inode, modification and change time in ns


def listing(folder: str | os.PathLike[str]) -> Listing:
    """The files and folders directly in a folder of a data set.

    Raises:
        DatasetError: it cannot be listed.
    """
    try:
        return list_folder(folder)
    except OSError as error:
        raise _refusal(folder, error) from error


def _refusal(folder: str | os.PathLike[str], error: OSError) -> DatasetError:
    return DatasetError(
        f"{folder}: {reason(error)}, so its videos would be missing; make it readable, or take it "
        "out of the data set"
    )


class FolderIndex:
    """Listings of the folders below one root.

    Args:
        root: the data set's folder.
        cache: where the cache file lies; default the user's cache folder.
    """

    def __init__(self, root: str | os.PathLike[str], *, cache: Path | None = None) -> None:
        self.root = os.path.abspath(root)
        folder = cache or cache_folder()
        key = hashlib.sha256(self.root.encode(errors="surrogateescape")).hexdigest()[:16]
        self.file = folder / f"index-{key}.json" if folder else None
        self._old = self._load()
        self._new: dict[str, tuple[Stamp, list[str], list[str]]] = {}
        self.listed = 0  # folders that had to be listed again

    def _load(self) -> dict[str, tuple[Stamp, list[str], list[str]]]:
        if self.file is None:
            return {}
        try:
            data = parse_json(self.file.read_text("utf-8"))
            if data["version"] == _VERSION and data["root"] == self.root:
                return {name: (e[0], e[1], e[2]) for name, e in data["folders"].items()}
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
            pass  # no cache, or one that is damaged: list anew
        return {}

    def files(self, folder: str | os.PathLike[str]) -> list[str]:
        """Names of the files directly in a folder, sorted; empty if there is no such folder.

        Raises:
            DatasetError: it is there and cannot be listed.
        """
        return self._listed(folder)[0]

    def folders(self, folder: str | os.PathLike[str]) -> list[str]:
        """Names of the folders directly in a folder, likewise."""
        return self._listed(folder)[1]

    def _listed(self, folder: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
        name = os.path.abspath(folder)
        if name in self._new:
            return self._new[name][1:]
        try:
            status = os.stat(name)
            stamp = [status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
            old = self._old.get(name)
            if old is not None and old[0] == stamp and os.access(name, os.R_OK | os.X_OK):
                found = old[1:]
            else:
                fresh = list_folder(name)
                found = (fresh.files, fresh.folders)
                self.listed += 1
        except (FileNotFoundError, NotADirectoryError):
            return [], []
        except OSError as error:
            raise _refusal(name, error) from error
        self._new[name] = (stamp, *found)
        return found

    def save(self) -> None:
        """Store the listings for the next start; failing to write the cache is not an error."""
        count = sum(len(names) for _, names, _ in self._new.values())
        if self.file is None or not self.listed or count < _WORTH_KEEPING:
            return
        newest = time.time_ns() - _SETTLED_NS
        settled = {k: v for k, v in (self._old | self._new).items() if max(v[0][2:]) < newest}
        content = {"version": _VERSION, "root": self.root, "folders": settled}
        with suppress(OutputError):
            write_text(self.file, json.dumps(content))
