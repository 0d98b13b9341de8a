"""What of the data was there when a run used it: found, missing, unreadable, per class."""

import os
from pathlib import Path
from typing import Any

from videonl.data.catalogue import Catalogue
from videonl.data.census import as_primitives
from videonl.escapes import json_text
from videonl.training.whole_files import replacing

CENSUS = "census.json"


def census_of(catalogue: Catalogue) -> dict[str, Any]:
    """The census of a data set as JSON holds it.

    Args:
        catalogue: of a ``VideoDataModule`` that was set up.

    Returns:
        Per split: listed, found, missing, unreadable; and ``classes``: those three per class.
    """
    content = as_primitives(catalogue.census)
    for split, part in content.items():
        classes = {
            name: {"found": part["per_class"].get(name, 0), "missing": 0, "unreadable": 0}
            for name in catalogue.class_names
        }
        bad = [(record, "missing") for record in catalogue.missing.get(split, [])]
        bad += [
            (record, "unreadable")
            for record in catalogue.records.get(split, [])
            if os.path.abspath(record.path) in catalogue.skipped
        ]
        for record, kind in bad:
            numbers = record.labels or (() if record.label is None else (record.label,))
            for number in numbers:
                classes[catalogue.class_names[number]][kind] += 1
        del part["per_class"]
        part["classes"] = classes
    return content


def write_census(catalogue: Catalogue, folder: Path) -> None:
    """Write ``census.json`` into the folder of a run."""
    with replacing(folder / CENSUS) as file:
        file.write(json_text(census_of(catalogue), indent=1) + "\n")
