"""List files: which videos belong to a split and what they show.

These formats are read:

- the official csv of Kinetics (``label,youtube_id,time_start,time_end,split``) with a flat folder
  of files named ``<id>_<start:06d>_<end:06d>.<extension>``;
- ``path label`` lines of mmaction2, PySlowFast and pytorchvideo: separated by space, comma or tab,
  the label a number or a name, several labels as ``1 5 7``, ``1,5,7``, ``1;5;7`` or ``cook;eat``;
- a csv with a header that has a path and a label column.

Each of them may give seconds: two numbers with a point before or after the label (``a.mp4 1.5 4.0
yoga``), or the columns ``start`` and ``end`` of a csv. Such an entry is that part of the video.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from videonl.data.walk import VIDEO_EXTENSIONS
from videonl.errors import DatasetError
from videonl.escapes import visible
from videonl.files import POINTERS, read_text

LONGEST = 10_000  # letters of a line; a path has 4096 bytes at most
Label = int | str
Span = tuple[float, float | None]
_EXTENSIONS = "|".join(sorted((e[1:] for e in VIDEO_EXTENSIONS), key=len, reverse=True))
_LINE = re.compile(
    rf'^\s*(?:"([^"]+)"|(.+?\.(?:{_EXTENSIONS})))(?:[\s,;]+(.*?))?\s*$', re.IGNORECASE
)
_SECONDS = r"(\d+\.\d*|\.\d+)"
_SPAN_FIRST = re.compile(rf"{_SECONDS}[\s,]+{_SECONDS}(?:[\s,]+(.*))?")
_SPAN_LAST = re.compile(rf"(.*?)[\s,]+{_SECONDS}[\s,]+{_SECONDS}")
_CELLS_FIRST = re.compile(r"(\d+)[,\t]\s*(\d+)[,\t]\s*(.*[^\d\s,;].*)")
_CELLS_LAST = re.compile(r"(.*[^\d\s,;].*?)[,\t]\s*(\d+)[,\t]\s*(\d+)")
PATH_COLUMNS = ("path", "video", "video_path", "filename", "file", "video_name")
_LABEL_COLUMNS = ("label", "labels", "class", "classes", "category")
_START_COLUMNS = ("start", "start_time", "time_start", "start_seconds", "start_sec", "begin")
_END_COLUMNS = ("end", "end_time", "time_end", "end_seconds", "end_sec", "stop")


@dataclass(frozen=True)
class Entry:
    """One line of a list.

    Attributes:
        path: as written; relative to the folder of the videos.
        labels: numbers or names; empty if the list has none.
        by_stem: the path has no extension and folder: any file of that stem matches.
        line: its line number, from 1.
        span: seconds of a part; None: all of the video.
        doubtful: the line begins with ``#``: a comment unless there is such a file.
        file: the list, where a split has several.
        bare: the file may also lie outside of its folder.
    """

    path: str
    labels: tuple[Label, ...]
    by_stem: bool = False
    line: int = 0
    span: Span | None = None
    doubtful: bool = False
    file: str = ""
    bare: bool = False


Lines = list[tuple[int, str]]


def read_list(path: str | Path) -> list[Entry]:
    """The entries of a list file of any of the formats above, in any encoding of Unicode.

    Raises:
        DatasetError: the file is missing, empty, or a line is not understood (with its number).
    """
    file = Path(path)
    lines = list_lines(file)
    rows = [pair for pair in lines if not pair[1].startswith("#")]
    header = [cell.strip().strip('"').lower() for cell in re.split(r"[,\t]", (rows or lines)[0][1])]
    if "youtube_id" in header:
        return _read_columns(file, lines, header, _kinetics_entry)
    if set(header) & set(PATH_COLUMNS) and not _LINE.match(rows[0][1]):
        return _read_columns(file, lines, header, _path_entry)
    if not rows and not any(_LINE.match(line) for _, line in lines):
        raise DatasetError(f"the list {file} is empty")
    entries = (_read_line(file, number, line) for number, line in lines)
    return [entry for entry in entries if entry is not None]


def list_lines(file: Path) -> Lines:
    """The lines that are not empty, with their numbers.

    Raises:
        DatasetError: the file is missing, empty, or a pointer to a file that was not fetched.
    """
    try:
        text = read_text(file)
    except OSError as error:
        raise DatasetError(f"the list {file} cannot be read ({error.strerror})") from error
    for mark, words in POINTERS:
        if text.encode(errors="surrogateescape").startswith(mark):
            raise DatasetError(f"the list {file} is {words}")
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DatasetError(f"the list {file} is empty")
    return lines


def _read_line(file: Path, number: int, line: str) -> Entry | None:
    if len(line) > LONGEST:
        raise DatasetError(
            f"{file}, line {number} has {len(line)} letters; a line is 'path label', of at most "
            f"{LONGEST}"
        )
    match = _LINE.match(line)
    doubtful = line.startswith("#")
    if match is None:
        if doubtful:
            return None
        parts = line.split()
        if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            raise DatasetError(
                f"{file}, line {number}: {visible(line)!r} is a folder of frames; videonl reads "
                "video files: use the list of the videos"
            )
        raise DatasetError(
            f"{file}, line {number}: {visible(line)!r} is not 'path label' (the path needs the "
            "extension of a video)"
        )
    span, rest = _span_of(match[3] or "")
    if span is not None:
        _check_span(file, number, span)
    labels = _labels(file, number, rest)
    return Entry(match[1] or match[2], labels, line=number, span=span, doubtful=doubtful)


def split_line(line: str) -> tuple[str, str]:
    """The path and the rest of a line ``path label``; the whole line and "" if it is not one."""
    match = _LINE.match(line)
    return (match[1] or match[2], match[3] or "") if match else (line, "")


def _labels(file: Path, number: int, text: str) -> tuple[Label, ...]:
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text):
        raise DatasetError(
            f"{file}, line {number}: the label is not Unicode text; save the list as UTF-8"
        )
    return split_labels(text)


def _span_of(text: str) -> tuple[Span | None, str]:
    """Seconds before or after a label, and the label."""
    text = text.strip()
    for pattern in (_SPAN_FIRST, _CELLS_FIRST):
        if match := pattern.fullmatch(text):
            return (float(match[1]), float(match[2])), match[3] or ""
    for pattern in (_SPAN_LAST, _CELLS_LAST) if text[-1:].isdigit() or text[-1:] == "." else ():
        if match := pattern.fullmatch(text):
            return (float(match[2]), float(match[3])), match[1]
    return None, text


def _check_span(file: Path, number: int, span: Span) -> None:
    start, end = span
    if not 0 <= start < math.inf or (end is not None and not start < end < math.inf):
        shown = "the end" if end is None else f"{end:g}"
        raise DatasetError(
            f"{file}, line {number}: a part from {start:g} to {shown} seconds; the start must be "
            "at least 0 and lie before the end"
        )


def split_labels(text: str) -> tuple[Label, ...]:
    """Labels in a text: numbers between any separators, or names between semicolons.

    Text in quotes is a name, whatever it contains.

    >>> split_labels("3 5"), split_labels('"push up"'), split_labels("cook;eat")
    ((3, 5), ('push up',), ('cook', 'eat'))
    >>> split_labels('"7";"a;b"')
    ('7', 'a;b')
    """
    parts = [part for part in re.split(r"[\s,;]+", text.strip()) if part]
    if parts and all(re.fullmatch(r"[0-9]{1,18}", part) for part in parts):
        return tuple(int(part) for part in parts)
    names = [quoted or plain.strip().strip('"').strip() for quoted, plain in _NAMES.findall(text)]
    return tuple(name for name in names if name)


_NAMES = re.compile(r'\s*"([^"]+)"\s*(?=;|$)|([^;]+)')


def label_text(names: Sequence[str]) -> str:
    """Names in the form that :func:`split_labels` reads; a name with a quote cannot be written."""
    return ";".join(
        f'"{name}"' if re.fullmatch(r".*[;,].*|[\d\s]*", name) else name for name in names
    )


def _read_columns(
    file: Path,
    lines: Lines,
    header: Sequence[str],
    make: Callable[[dict[str, str]], Entry],
) -> list[Entry]:
    first = next(n for n, (_, line) in enumerate(lines) if not line.startswith("#"))
    separator = "\t" if "\t" in lines[first][1] else ","
    entries = []
    for number, line in lines[first + 1 :]:
        doubtful = line.startswith("#")
        row = next(csv.reader(io.StringIO(line), delimiter=separator), [])
        if doubtful and len(row) != len(header):
            continue
        try:
            made = make(dict(zip(header, row, strict=True)))
        except (ValueError, KeyError) as error:
            if doubtful:
                continue
            raise DatasetError(
                f"{file}, line {number}: expected the columns {', '.join(header)} ({error})"
            ) from error
        if made.span is not None:
            _check_span(file, number, made.span)
        labels = _labels(file, number, str(made.labels[0])) if made.labels else ()
        if made.by_stem:
            labels = tuple(map(str, made.labels))
        entries.append(Entry(made.path, labels, made.by_stem, number, made.span, doubtful))
    if not entries:
        raise DatasetError(f"the list {file} is empty")
    return entries


def _kinetics_entry(row: dict[str, str]) -> Entry:
    start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
    label = row.get("label", "").strip().strip('"')
    stem = f"{row['youtube_id']}_{start:06d}_{end:06d}"
    return Entry(stem, (label,) if label else (), by_stem=True)


def _path_entry(row: dict[str, str]) -> Entry:
    path = next(row[key] for key in PATH_COLUMNS if key in row)
    label = next((row[key] for key in _LABEL_COLUMNS if key in row), "")
    start, end = (
        next((row[key].strip() for key in keys if key in row), "")
        for keys in (_START_COLUMNS, _END_COLUMNS)
    )
    span = (float(start or 0), float(end) if end else None) if start or end else None
    return Entry(path.strip(), (label,) if label.strip() else (), span=span)
