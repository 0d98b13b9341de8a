"""List files: which videos belong to a split and what they show.

Read as they are found in the wild:

- the official csv of Kinetics (``label,youtube_id,time_start,time_end,split``) with a flat folder
  of files named ``<id>_<start:06d>_<end:06d>.<extension>``;
- ``path label`` lines of mmaction2, PySlowFast and pytorchvideo: separated by space, comma or tab,
  the label a number or a name, several labels as ``1 5 7``, ``1,5,7``, ``1;5;7`` or ``cook;eat``;
- a csv with a header that names a path and a label column.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from videonl.data.walk import VIDEO_EXTENSIONS
from videonl.errors import DatasetError

Label = int | str
_EXTENSIONS = "|".join(sorted(e[1:] for e in VIDEO_EXTENSIONS))
_LINE = re.compile(rf"^\s*(\"?)(.+?\.(?:{_EXTENSIONS}))\1(?:[\s,]+(.*?))?\s*$", re.IGNORECASE)
_PATH_COLUMNS = ("path", "video", "video_path", "filename", "file", "video_name")
_LABEL_COLUMNS = ("label", "labels", "class", "classes", "category")


@dataclass(frozen=True)
class Entry:
    """One line of a list.

    Attributes:
        path: as written; relative to the folder of the videos.
        labels: numbers or names; empty if the list has none.
        by_stem: the path has no extension and folder: any file of that stem is meant.
    """

    path: str
    labels: tuple[Label, ...]
    by_stem: bool = False


def read_list(path: str | Path) -> list[Entry]:
    """The entries of a list file of any of the formats above.

    Raises:
        DatasetError: the file is missing, empty, or a line is not understood (with its number).
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"the list {file} can not be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"the list {file} is not a text file in UTF-8") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise DatasetError(f"the list {file} is empty")
    header = [cell.strip().strip('"').lower() for cell in re.split(r"[,\t]", lines[0])]
    if "youtube_id" in header:
        return _read_columns(file, lines, header, _kinetics_entry)
    if set(header) & set(_PATH_COLUMNS) and not _LINE.match(lines[0]):
        return _read_columns(file, lines, header, _path_entry)
    return [_read_line(file, number, line) for number, line in enumerate(lines, 1)]


def _read_line(file: Path, number: int, line: str) -> Entry:
    match = _LINE.match(line)
    if match is None:
        parts = line.split()
        if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            raise DatasetError(
                f"{file}, line {number}: {line!r} names a folder of frames; videonl reads video "
                "files: use the list of the videos"
            )
        raise DatasetError(
            f"{file}, line {number}: {line!r} is not 'path label' (the path needs the extension "
            "of a video)"
        )
    return Entry(match[2], split_labels(match[3] or ""))


def split_labels(text: str) -> tuple[Label, ...]:
    """Labels out of text: numbers between any separators, or names between semicolons.

    >>> split_labels("3 5"), split_labels('"push up"'), split_labels("cook;eat")
    ((3, 5), ('push up',), ('cook', 'eat'))
    """
    parts = [part for part in re.split(r"[\s,;]+", text.strip()) if part]
    if parts and all(re.fullmatch(r"\d+", part) for part in parts):
        return tuple(int(part) for part in parts)
    names = [name.strip().strip('"').strip() for name in text.split(";")]
    return tuple(name for name in names if name)


def _read_columns(
    file: Path,
    lines: Sequence[str],
    header: Sequence[str],
    make: Callable[[dict[str, str]], Entry],
) -> list[Entry]:
    separator = "\t" if "\t" in lines[0] else ","
    rows = csv.reader(io.StringIO("\n".join(lines[1:])), delimiter=separator)
    entries = []
    for number, row in enumerate(rows, 2):
        try:
            entries.append(make(dict(zip(header, row, strict=True))))
        except (ValueError, KeyError) as error:
            raise DatasetError(
                f"{file}, line {number}: expected the columns {', '.join(header)} ({error})"
            ) from error
    return entries


def _kinetics_entry(row: dict[str, str]) -> Entry:
    start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
    label = row.get("label", "").strip().strip('"')
    stem = f"{row['youtube_id']}_{start:06d}_{end:06d}"
    return Entry(stem, (label,) if label else (), by_stem=True)


def _path_entry(row: dict[str, str]) -> Entry:
    path = next(row[key] for key in _PATH_COLUMNS if key in row)
    label = next((row[key] for key in _LABEL_COLUMNS if key in row), "")
    return Entry(path.strip(), split_labels(label))
