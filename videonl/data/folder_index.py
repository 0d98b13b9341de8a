"""A cached list of the files in folders, so that a data set of 240,000 files starts in seconds.

A folder's modification time changes when a file is added, removed or renamed in it, its change time
when its permissions do, and a link to a folder that is turned elsewhere leads to another inode. So
a cached listing of the same inode and times is the listing. One JSON file per data set lies in the
user's cache folder (``$VIDEONL_CACHE``, else ``~/.cache/videonl``), never in the data set itself.
"""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from videonl.data.walk import Listing, list_folder, reason
from videonl.errors import DatasetError, OutputError
from videonl.files import write_text
from videonl.home import user_cache

_VERSION = 2

_VERSION = 1
_WORTH_KEEPING = 2000  # files; below, listing is as fast as reading the cache
_SETTLED_NS = 2_000_000_000  # a folder changed within 2 s may change again within one tick


Stamp = list[int]  # device, inode, modification and change time in ns


def listing(folder: str | os.PathLike[str]) -> Listing:
    """What lies in a folder of a data set.

    Raises:
        DatasetError: it can not be listed.
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
        named = os.environ.get("VIDEONL_CACHE")
        folder = cache or (Path(named) if named else user_cache())
        key = hashlib.sha256(self.root.encode(errors="surrogateescape")).hexdigest()[:16]
        self.file = folder / f"index-{key}.json" if folder else None
        self._old = self._load()
        self._new: dict[str, tuple[Stamp, list[str]]] = {}
        self.listed = 0  # folders that had to be listed anew

    def _load(self) -> dict[str, tuple[Stamp, list[str]]]:
        if self.file is None:
            return {}
        try:
            data = json.loads(self.file.read_text("utf-8"))
            if data["version"] == _VERSION and data["root"] == self.root:
                return {name: (entry[0], entry[1]) for name, entry in data["folders"].items()}
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
            pass  # no cache, or one that is damaged: list anew
        return {}

    def files(self, folder: str | os.PathLike[str]) -> list[str]:
        """Names of the files directly in a folder, sorted; empty if there is no such folder.

        Raises:
            DatasetError: it is there and can not be listed.
        """
        name = os.path.abspath(folder)
        if name in self._new:
            return self._new[name][1]
        try:
            status = os.stat(name)
            stamp = [status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
            old = self._old.get(name)
            if old is not None and old[0] == stamp and os.access(name, os.R_OK | os.X_OK):
                found = old[1]
            else:
                found = list_folder(name).files
                self.listed += 1
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _refusal(name, error) from error
        self._new[name] = (stamp, found)
        return found

    def save(self) -> None:
        """Keep the listings for the next start; a cache that can not be written is no error."""
        count = sum(len(names) for _, names in self._new.values())
        if self.file is None or not self.listed or count < _WORTH_KEEPING:
            return
        newest = time.time_ns() - _SETTLED_NS
        settled = {k: v for k, v in (self._old | self._new).items() if max(v[0][2:]) < newest}
        content = {"version": _VERSION, "root": self.root, "folders": settled}
        with suppress(OutputError):
            write_text(self.file, json.dumps(content))
