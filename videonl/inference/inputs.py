"""From the inputs a user gives (files, folders, patterns, a list) to the list of video files."""

import fnmatch
import glob
import os
from collections.abc import Iterable

from videonl.data.lists import lines_of, split_line, table_of
from videonl.data.walk import as_spelled, is_video, list_folder, reason, walk, why_lost
from videonl.errors import VideoNLError
from videonl.inference.prediction import Failure
from videonl.video.decoding.container import split_span, with_span


def find_videos(
    inputs: Iterable[str], *, extensions: Iterable[str]
) -> tuple[list[str], list[Failure]]:
    """Expand files, folders and patterns into video files, each once, in the order given.

    A named file is taken whatever its extension. A folder is searched with all its subfolders and
    links to folders for the given extensions, sorted by name. A text with ``*``, ``?`` or ``[``
    that is not itself a file is a pattern (``**`` also matches subfolders).

    Args:
        inputs: the words of the command line.
        extensions: extensions of videos inside folders, such as ``.mp4``; case does not matter.

    Returns:
        The files, and one failure for each input that led to none, and each folder that cannot be
        listed.
    """
    wanted = frozenset(extension.lower() for extension in extensions)
    found: dict[str, None] = {}
    failures = []
    for text in inputs:
        videos, lost, error = _expand(text, wanted)
        found.update(dict.fromkeys(videos))
        failures += [Failure(path, why) for path, why in lost.items()]
        if error and not lost:
            failures.append(Failure(text, error))
    return list(found), failures


def _expand(text: str, extensions: frozenset[str]) -> tuple[list[str], dict[str, str], str]:
    """(video files, lost folders with the reasons, why there are no files) of one input."""
    if os.path.isdir(text):
        inside = walk(text, extensions=extensions)
        none = f"no video in this folder ({' '.join(sorted(extensions))})"
        return inside.videos, inside.lost, "" if inside.videos else none
    path, span = split_span(text)
    if os.path.exists(path):
        return [text], {}, ""
    if os.path.islink(text):
        return [], {}, why_lost(text)
    spelled = as_spelled(path)
    if spelled and spelled != path:
        return _expand(with_span(spelled, span), extensions)
    if glob.has_magic(text):
        videos, lost = _matches(text, extensions)
        return videos, lost, "" if videos else "no file matches this pattern"
    if "://" in text:
        return [], {}, "an address, not a file: download it first"
    return [], {}, "no such file"


def _matches(pattern: str, extensions: frozenset[str]) -> tuple[list[str], dict[str, str]]:
    """Videos of a pattern, and the folders on the way that cannot be listed.

    Unlike ``glob.glob``, which leaves out such folders silently and follows links in circles
    without end.
    """
    drive, rest = os.path.splitdrive(pattern)
    parts = [part for part in rest.replace(os.altsep or os.sep, os.sep).split(os.sep) if part]
    places = [drive + os.sep if rest.startswith(os.sep) else drive]
    lost: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        reached = []
        for place in places:
            if part == "**":
                below = walk(place or os.curdir, extensions=extensions)
                lost |= below.lost
                inside = [] if number == len(parts) else below.folders
                reached += [_named(path, place) for path in (*inside, *below.videos)]
            elif not glob.has_magic(part):
                reached += [os.path.join(place, part)]
            elif os.path.isdir(place or os.curdir):
                try:
                    listing = list_folder(place or os.curdir)
                except OSError as error:
                    lost[place] = reason(error)
                    continue
                names = fnmatch.filter(sorted([*listing.files, *listing.folders]), part)
                hidden = part.startswith(".")
                reached += [os.path.join(place, n) for n in names if hidden or n[0] != "."]
        places = [path for path in dict.fromkeys(reached) if os.path.lexists(path or os.curdir)]
    videos: list[str] = []
    for path in sorted(places):
        if os.path.isdir(path or os.curdir):
            below = walk(path or os.curdir, extensions=extensions)
            lost |= below.lost
            videos += [_named(video, path) for video in below.videos]
        elif "**" not in parts or is_video(os.path.basename(path), extensions):
            videos.append(path)
    return list(dict.fromkeys(videos)), lost


def _named(path: str, place: str) -> str:
    """A path as a user would type it: without ``./`` where the pattern had none."""
    return path if place else os.path.relpath(path) if path != os.curdir else ""


def read_list(text: str, *, source: str) -> list[str]:
    """The paths of a list: one per line; of a list for training without labels, with seconds.

    A line that begins with ``#`` is a comment unless there is such a file.

    Args:
        text: of the list.
        source: its name, for the message.

    Raises:
        VideoNLError: the list is empty, or contains no file names.
    """
    lines = lines_of(text, source=source)
    if not lines:
        raise VideoNLError(f"{source} is empty; it should have one path per line")
    table = table_of(lines)
    if table is not None and table.of_kinetics:
        raise VideoNLError(
            f"{source} is a csv of Kinetics, which contains no file names; give the folder"
        )
    if table is not None and not os.path.lexists(lines[0][1]):
        parts = table.entries(source)
        kept = (e for e in parts if not e.doubtful or os.path.lexists(e.path))
        return [with_span(e.path, e.span) for e in kept]
    return [path for _, line in lines if (path := _path_of(line))]


def _path_of(line: str) -> str | None:
    """The path in a line of a list; None for a comment. It may be in quotes, or have a label."""
    plain = line.strip()
    quoted = plain[1:-1] if len(plain) > 2 and plain[0] == plain[-1] in ("'", '"') else plain
    if found := next(filter(os.path.lexists, (line, plain, quoted)), None):
        return found
    path, span = split_line(line)
    if os.path.lexists(path):
        return with_span(path, span)
    return None if line.startswith("#") else quoted
