"""The skip list that ``videonl check`` writes: files that cannot be read, with the reason.

One line per file, ``path<TAB>reason``, the path relative to the data set's folder.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from videonl.errors import DatasetError
from videonl.files import read_text, write_text
from videonl.video.decoding.container import split_span

FILE_NAME = "videonl_skip.tsv"


def read_skip_list(root: str | os.PathLike[str], path: str | None = None) -> dict[str, str]:
    """Absolute path -> reason; empty if there is no list.

    Args:
        root: the data set's folder; the paths are relative to it.
        path: the list; default ``root/videonl_skip.tsv`` if it exists.

    Raises:
        DatasetError: ``path`` is given but cannot be read.
    """
    file = Path(path) if path else Path(root) / FILE_NAME
    if not path and not os.path.lexists(file):
        return {}
    try:
        lines = read_text(file).split("\n")
    except OSError as error:
        raise DatasetError(f"the skip list {file} cannot be read ({error.strerror})") from error
    skipped = {}
    for line in lines:
        name, tab, reason = line.partition("\t")
        if name and (tab or not name.startswith("#")):  # a comment has no tab, a name may have "#"
            skipped[os.path.join(os.path.abspath(root), name)] = reason or "on the skip list"
    return skipped


def is_skipped(path: str, skipped: Mapping[str, str]) -> str | None:
    """Why a video, or the file of which it is a part, is on the skip list; None if it is not."""
    return skipped.get(os.path.abspath(split_span(path)[0]))


def write_skip_list(root: str | os.PathLike[str], file: Path, bad: Mapping[str, str]) -> None:
    """Write absolute paths and reasons, sorted, atomically."""
    lines = ["# unreadable videos, written by videonl check: path<TAB>reason"]
    for path, reason in sorted(bad.items()):
        name = os.path.relpath(path, os.path.abspath(root))
        lines.append(f"{name}\t{' '.join(reason.split())}")
    write_text(file, "\n".join(lines) + "\n")
