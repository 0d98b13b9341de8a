"""Which videos of a data set are there: found, missing, unreadable, per split and class.

The unreadable ones stand on the skip list that ``videonl check`` writes, one line per file,
``path<TAB>reason``, the path relative to the data set's folder.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videonl.data.walk import as_spelled
from videonl.errors import DatasetError
from videonl.escapes import json_text
from videonl.files import read_text, write_text
from videonl.shares import counted
from videonl.video.decoding.container import split_span

if TYPE_CHECKING:
    from videonl.data.catalogue import Catalogue

# Videos in the official lists of Kinetics-400 and in the copy that CVDF serves; no two copies
# agree.
KINETICS400_COUNTS = {"train": 246_534, "val": 19_906, "test": 39_805}
FILE_NAME = "videonl_skip.tsv"  # the skip list, beside the videos
CENSUS = "census.json"  # in the folder of a run


@dataclass
class SplitCensus:
    """One split.

    Attributes:
        listed: videos in the folder or the list.
        found: of these, files that exist and are not known to be unreadable.
        missing: files in the list that do not exist.
        unreadable: files that ``videonl check`` found unreadable.
        per_class: class name -> found.
        examples: the first missing files.
    """

    listed: int = 0
    found: int = 0
    missing: int = 0
    unreadable: int = 0
    per_class: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


def census_values(census: Mapping[str, SplitCensus]) -> dict[str, Any]:
    """The census as JSON-able values, to be stored with a run."""
    return {split: asdict(part) for split, part in census.items()}


def census_text(census: Mapping[str, SplitCensus], class_names: Sequence[str]) -> str:
    """The census as text, one line per split."""
    lines = []
    for split, part in census.items():
        line = f"{split}: found {part.found} of {counted(part.listed, 'video')}"
        if part.missing:
            line += f", {part.missing} missing (e.g. {part.examples[0]})"
        if part.unreadable:
            line += f", {part.unreadable} on the skip list"
        empty = [name for name in class_names if not part.per_class.get(name)]
        if empty and split == "train":
            line += f", {counted(len(empty), 'class')} without a video (e.g. {empty[0]})"
        official = KINETICS400_COUNTS.get(split)
        if len(class_names) == 400 and official:
            line += f" (the official Kinetics-400 list has {official})"
        lines.append(line)
    return "\n".join(lines)


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
            skipped[_place(os.path.abspath(root), name)] = reason or "on the skip list"
    return skipped


def _place(root: str, name: str) -> str:
    """The file that a line means, also if it was written on another system."""
    path = os.path.normpath(os.path.join(root, name))
    if (name.isascii() and "\\" not in name) or os.path.lexists(path):
        return path
    way = name.replace("\\", "/")
    turned = os.path.normpath(os.path.join(root, way))
    return turned if os.path.lexists(turned) else as_spelled(way, base=root) or path


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


def census_of(catalogue: "Catalogue") -> dict[str, Any]:
    """The census of a data set as JSON holds it.

    Args:
        catalogue: of a ``VideoDataModule`` that was set up.

    Returns:
        Per split: listed, found, missing, unreadable; and ``classes``: those three per class.
    """
    content = census_values(catalogue.census)
    for split, part in content.items():
        classes = {
            name: {"found": part["per_class"].get(name, 0), "missing": 0, "unreadable": 0}
            for name in catalogue.class_names
        }
        bad = [(record, "missing") for record in catalogue.missing.get(split, [])]
        bad += [
            (record, "unreadable")
            for record in catalogue.records.get(split, [])
            if is_skipped(record.path, catalogue.skipped)
        ]
        for record, kind in bad:
            for number in record.labels:
                classes[catalogue.class_names[number]][kind] += 1
        del part["per_class"]
        part["classes"] = classes
    return content


def write_census(catalogue: "Catalogue", folder: Path) -> None:
    """Write ``census.json`` into the folder of a run."""
    text = json_text(census_of(catalogue), indent=1) + "\n"
    write_text(folder / CENSUS, text)
