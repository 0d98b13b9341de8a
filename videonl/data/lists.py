"""List files: which videos belong to a split and what they show.

These formats are read:

- the official csv of Kinetics (``label,youtube_id,time_start,time_end,split``) with a flat folder
  of files named ``<id>_<start:06d>_<end:06d>.<extension>``;
- ``path label`` lines of mmaction2, PySlowFast and pytorchvideo: separated by space, comma or tab,
  the label a number or a name, several labels as ``1 5 7``, ``1,5,7``, ``1;5;7`` or ``cook;eat``;
- a csv with a header that has a path and a label column, separated by comma, semicolon or tab.

Each of them may give seconds: two numbers with a point before or after the label (``a.mp4 1.5 4.0
yoga``), or the columns ``start`` and ``end`` of a csv. Such an entry is that part of the video.
"""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from videonl.data.walk import VIDEO_EXTENSIONS
from videonl.errors import DatasetError
from videonl.escapes import visible
from videonl.files import POINTERS, read_text
from videonl.shares import counted

LONGEST = 10_000  # letters of a line; a path has 4096 bytes at most
Label = int | str
Span = tuple[float, float | None]
_EXTENSIONS = "|".join(sorted((e[1:] for e in VIDEO_EXTENSIONS), key=len, reverse=True))
_LINE = re.compile(
    rf'^\s*(?:"([^"]+)"|(.+?\.(?:{_EXTENSIONS})))(?:[\s,;]+(.*?))?\s*$', re.IGNORECASE
)
_VIDEO = re.compile(rf"\.(?:{_EXTENSIONS})\b", re.IGNORECASE)
_SECONDS = r"(\d+\.\d*|\.\d+)"
_SPAN_FIRST = re.compile(rf"{_SECONDS}[\s,]+{_SECONDS}(?:[\s,]+(.*))?")
_SPAN_LAST = re.compile(rf"(.*?)[\s,]+{_SECONDS}[\s,]+{_SECONDS}")
_CELLS_FIRST = re.compile(r"(\d+)[,\t]\s*(\d+)[,\t]\s*(.*[^\d\s,;].*)")
_CELLS_LAST = re.compile(r"(.*[^\d\s,;].*?)[,\t]\s*(\d+)[,\t]\s*(\d+)")
PATH_COLUMNS = ("path", "video", "video_path", "filename", "file", "video_name")
_LABEL_COLUMNS = ("label", "labels", "class", "classes", "category")
_START_COLUMNS = ("start", "start_time", "time_start", "start_seconds", "start_sec", "begin")
_END_COLUMNS = ("end", "end_time", "time_end", "end_seconds", "end_sec", "stop")
_SPLIT_COLUMNS = ("split", "subset")
_SPLITS = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validation", "validate", "dev"},
    "test": {"test", "testing"},
}


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


def read_list(path: str | Path, *, split: str | None = None) -> list[Entry]:
    """The entries of a list file of any of the formats above, in any encoding of Unicode.

    Args:
        path: the file.
        split: that is wanted of a table whose column ``split`` names several; None: all of it.

    Raises:
        DatasetError: the file is missing, empty, or a line is not understood (with its number).
    """
    file = Path(path)
    lines = list_lines(file)
    if (table := table_of(lines)) is not None:
        return [_with_labels(file, entry) for entry in table.entries(str(file), split=split)]
    if all(line.startswith("#") and not _LINE.match(line) for _, line in lines):
        raise DatasetError(f"the list {file} is empty")
    entries = (_read_line(file, number, line) for number, line in lines)
    return [entry for entry in entries if entry is not None]


@dataclass(frozen=True)
class Table:
    """A list whose first line names its columns.

    Attributes:
        header: the names, in lower case.
        separator: between cells.
        lines: below the header.
    """

    header: list[str]
    separator: str
    lines: Lines

    @property
    def of_kinetics(self) -> bool:
        """Whether it names its videos by their ids alone."""
        return "youtube_id" in self.header and not set(PATH_COLUMNS) & set(self.header)

    def entries(self, source: str, *, split: str | None = None) -> list[Entry]:
        """Its rows; the text of a label is not taken apart.

        Args:
            source: the list, for messages.
            split: see :func:`read_list`.

        Raises:
            DatasetError: no row, or none of the split, or one that does not fit to the header; with
                its line number.
        """
        columns, found = ", ".join(self.header), []
        splits: list[str] = []
        make = _kinetics_entry if self.of_kinetics else _path_entry
        if self.of_kinetics and not {"time_start", "time_end"} <= set(self.header):
            raise DatasetError(
                f"{source} has the columns {columns}, and a csv of Kinetics has time_start and "
                "time_end, too; add them, or a column path"
            )
        for number, line in self.lines:
            cells = _cells(line, self.separator)
            while len(cells) > len(self.header) and not cells[-1].strip():
                cells.pop()  # of a spreadsheet
            if not any(map(str.strip, cells)):
                continue
            doubtful = line.startswith("#")
            try:
                if len(cells) != len(self.header):
                    raise ValueError(
                        f"{counted(len(cells), 'cell')}; quote one that has a {self.separator!r}"
                    )
                row = dict(zip(self.header, cells, strict=True))
                entry = make(row)
            except (ValueError, OverflowError) as error:
                if doubtful:
                    continue
                raise DatasetError(
                    f"{source}, line {number}: expected the columns {columns} ({error})"
                ) from error
            _check_span(source, number, entry.span)
            found.append(replace(entry, line=number, doubtful=doubtful))
            splits.append(
                next((row[key].strip().lower() for key in _SPLIT_COLUMNS if key in row), "")
            )
        if not found:
            raise DatasetError(f"the list {source} is empty")
        named = set(splits) - {""}
        if split is None or len(named) < 2 or not named <= set().union(*_SPLITS.values()):
            return found
        if not named & _SPLITS[split]:
            raise DatasetError(
                f"the list {source} tells the splits {', '.join(sorted(named))} apart, and no row "
                f"of it is of {split}"
            )
        here = {"", *_SPLITS[split]}
        return [entry for entry, name in zip(found, splits, strict=True) if name in here]


def table_of(lines: Lines) -> Table | None:
    """The lines as a table; None where the first one is no header of paths."""
    places = [n for n, (_, line) in enumerate(lines) if not line.startswith("#")]
    if not places or _VIDEO.search(line := lines[places[0]][1]):
        return None
    for separator in ",;\t":
        header = [cell.strip().lower() for cell in _cells(line, separator)]
        if {"youtube_id", *PATH_COLUMNS} & set(header):
            return Table(header, separator, lines[places[0] + 1 :])
    return None


def _cells(line: str, separator: str) -> list[str]:
    reader = csv.reader([line], delimiter=separator, skipinitialspace=True)
    return next(reader, [])


def list_lines(file: Path) -> Lines:
    """The lines that are not empty, with their numbers.

    Raises:
        DatasetError: the file is missing, empty, a pointer to a file that was not fetched, or has
            a line that is too long.
    """
    try:
        text = read_text(file)
    except OSError as error:
        raise DatasetError(f"the list {file} cannot be read ({error.strerror})") from error
    for mark, words in POINTERS:
        if text.encode(errors="surrogateescape").startswith(mark):
            raise DatasetError(f"the list {file} is {words}")
    lines = lines_of(text, source=str(file))
    if not lines:
        raise DatasetError(f"the list {file} is empty")
    return lines


def lines_of(text: str, *, source: str) -> Lines:
    """The lines of a list that are not empty, with their numbers.

    Raises:
        DatasetError: one is too long, or no text; with the name of the source.
    """
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) > 1 and re.fullmatch("(?i)sep=.", lines[0][1].strip()):
        del lines[0]  # how Excel is told the separator
    for number, line in lines:
        if "\0" in line:
            raise DatasetError(f"{source}, line {number} has a NUL character: a list is a text")
        if len(line) > LONGEST:
            raise DatasetError(
                f"{source}, line {number} has {len(line)} letters; a line of a list has at most "
                f"{LONGEST}"
            )
    return lines


def _read_line(file: Path, number: int, line: str) -> Entry | None:
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
    _check_span(str(file), number, span)
    path = match[1] or match[2]
    return _with_labels(file, Entry(path, (rest,), line=number, span=span, doubtful=doubtful))


def split_line(line: str) -> tuple[str, Span | None]:
    """The path and the seconds of a line ``path label``; the whole line if it is not one."""
    match = _LINE.match(line)
    return (match[1] or match[2], _span_of(match[3] or "")[0]) if match else (line, None)


def _with_labels(file: Path, entry: Entry) -> Entry:
    """The entry, the text of whose label is taken apart."""
    text = "".join(map(str, entry.labels))
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise DatasetError(
            f"{file}, line {entry.line}: the label is not Unicode text; save the list as UTF-8"
        )
    return entry if entry.by_stem else replace(entry, labels=split_labels(text))


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


def _check_span(source: str, number: int, span: Span | None) -> None:
    start, end = span or (0.0, None)
    if not 0 <= start < math.inf or (end is not None and not start < end < math.inf):
        shown = "the end" if end is None else f"{end:g}"
        raise DatasetError(
            f"{source}, line {number}: a part from {start:g} to {shown} seconds; the start must be "
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
