"""From what a person types (files, folders, patterns, a list) to the list of video files."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from videonl.inference.prediction import Failure


def find_videos(
    inputs: Iterable[str], *, extensions: Iterable[str]
) -> tuple[list[str], list[Failure]]:
    """Expand files, folders and patterns into video files, each once, in the order given.

    A file that is named is taken whatever its extension. A folder is searched with all its
    subfolders for the given extensions, sorted by name. A text with ``*``, ``?`` or ``[`` that is
    not itself a file is a pattern (``**`` reaches into subfolders).

    Args:
        inputs: what was typed.
        extensions: what a video is called inside folders, such as ``.mp4``; case does not matter.

    Returns:
        The files, and one failure for each input that led to none.
    """
    wanted = tuple(sorted(extension.lower() for extension in extensions))
    found: dict[str, None] = {}
    failures = []
    for text in inputs:
        videos, error = _expand(text, wanted)
        found.update(dict.fromkeys(videos))
        if error:
            failures.append(Failure(text, error))
    return list(found), failures


def _expand(text: str, extensions: tuple[str, ...]) -> tuple[list[str], str]:
    """(video files, why there are none) of one input."""
    if os.path.isdir(text):
        videos = _videos_of_folder(text, extensions)
        return videos, "" if videos else f"no video in this folder ({' '.join(extensions)})"
    if os.path.exists(text):
        return [text], ""
    if glob.has_magic(text):
        videos = []
        for match in sorted(glob.glob(text, recursive=True)):
            if os.path.isdir(match):
                videos += _videos_of_folder(match, extensions)
            elif "**" not in text or match.lower().endswith(extensions):
                videos.append(match)
        return videos, "" if videos else "no file fits this pattern"
    if "://" in text:
        return [], "an address, not a file: download it first"
    return [], "no such file"


def _videos_of_folder(folder: str, extensions: tuple[str, ...]) -> list[str]:
    """The video files of a folder and its subfolders, sorted; hidden ones are left out."""
    videos = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        videos += [
            os.path.join(root, name)
            for name in sorted(files)
            if name.lower().endswith(extensions) and not name.startswith(".")
        ]
    return videos


def read_list(lines: Iterable[str], *, base: Path | None = None) -> list[str]:
    """One path per line; empty lines and lines that start with ``#`` are skipped.

    Args:
        lines: the list, for instance standard input or an open file.
        base: folder that relative paths start from; None: the current one.
    """
    texts = (line.rstrip("\r\n") for line in lines)
    paths = [text for text in texts if text.strip() and not text.startswith("#")]
    return paths if base is None else [str(base / path) for path in paths]
