"""A cached list of the files in folders, so that a data set of 240,000 files starts in seconds.

A folder's modification time changes when a file is added, removed or renamed in it, so a cached
listing with the same time is the listing. One JSON file per data set lies in the user's cache
folder (``$VIDEONL_CACHE``, else ``~/.cache/videonl``), never in the data set itself.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path

from videonl.home import user_cache

_VERSION = 1
_WORTH_KEEPING = 2000  # files; below, listing is as fast as reading the cache
_SETTLED_NS = 2_000_000_000  # a folder changed within 2 s may change again within one tick


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
        self._new: dict[str, tuple[int, list[str]]] = {}
        self.listed = 0  # folders that had to be listed anew

    def _load(self) -> dict[str, tuple[int, list[str]]]:
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
        """Names of the files directly in a folder, sorted; empty if there is no such folder."""
        name = os.path.abspath(folder)
        if name in self._new:
            return self._new[name][1]
        try:
            modified = os.stat(name).st_mtime_ns
            old = self._old.get(name)
            if old is not None and old[0] == modified:
                found = old[1]
            else:
                with os.scandir(name) as entries:
                    found = sorted(entry.name for entry in entries if entry.is_file())
                self.listed += 1
        except (FileNotFoundError, NotADirectoryError):
            return []
        self._new[name] = (modified, found)
        return found

    def save(self) -> None:
        """Keep the listings for the next start; a cache that can not be written is no error."""
        count = sum(len(names) for _, names in self._new.values())
        if self.file is None or not self.listed or count < _WORTH_KEEPING:
            return
        newest = _now_ns() - _SETTLED_NS
        settled = {k: v for k, v in (self._old | self._new).items() if v[0] < newest}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self.file.parent, suffix=".tmp", delete=False, encoding="utf-8"
            ) as handle:
                json.dump({"version": _VERSION, "root": self.root, "folders": settled}, handle)
            os.replace(handle.name, self.file)
        except OSError:
            pass


def _now_ns() -> int:
    import time

    return time.time_ns()
