"""All video files below a folder, for the commands that look at or re-encode a data set."""

import os
from pathlib import Path

from videonl.data.records import is_video
from videonl.errors import DatasetError


def walk_videos(root: str | os.PathLike[str]) -> list[str]:
    """Absolute paths of the video files in a folder and all folders below it, sorted.

    Raises:
        DatasetError: no such folder, or no video in it.
    """
    folder = os.path.abspath(root)
    if not os.path.isdir(folder):
        raise DatasetError(f"{root} is no folder; give the folder of a data set")
    found = [
        os.path.join(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if is_video(name) and not _hidden(Path(place), folder)
    ]
    if not found:
        raise DatasetError(f"{root} holds no video files")
    return sorted(found)


def _hidden(place: Path, root: str) -> bool:
    return any(part.startswith(".") for part in place.relative_to(root).parts)
