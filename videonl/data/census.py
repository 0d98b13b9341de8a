"""Counts of a data set's videos: found, missing, unreadable, per split and class."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from videonl.shares import counted

# Videos in the official lists of Kinetics-400 and in the copy that CVDF serves; no two copies
# agree.
KINETICS400_COUNTS = {"train": 246_534, "val": 19_906, "test": 39_805}


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
