"""A comparison as one HTML page that needs no network and no other file; and as a folder of files.

The folder holds the same figures as JSON, CSV, Markdown, the page and its chart as a picture.
"""

from pathlib import Path
from typing import Any

from videonl.escapes import json_text
from videonl.evaluation.result import Comparison, Row
from videonl.evaluation.table import (
    METHOD,
    columns_of,
    csv_text,
    markdown,
    measured_rows,
    notes,
    verdicts,
)
from videonl.files import write_text
from videonl.reports.chart import chart_svg, save_chart
from videonl.reports.pages import render
from videonl.shares import counted

MOST_CLASSES = 30  # of a readable confusion matrix; with more, the most confused pairs are shown
MOST_PAIRS = 20


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write every form of the table.

    Args:
        comparison: what to write.
        folder: is made where it is missing.

    Returns:
        The files.
    """
    text = json_text(comparison.as_dict(), indent=1) + "\n"
    written = []
    for name, content in (
        ("compare.json", text),
        ("compare.csv", csv_text(comparison)),
        ("compare.md", markdown(comparison)),
        ("compare.html", comparison_page(comparison)),
    ):
        write_text(folder / name, content)
        written.append(folder / name)
    if save_chart(comparison, folder / "compare.png"):
        written.append(folder / "compare.png")
    return written


def comparison_page(comparison: Comparison) -> str:
    """The page: table, chart, paired tests, confusion matrices, protocol and the raw data."""
    columns = columns_of(comparison)
    numbers = {row.name: number for number, row in enumerate(comparison.shown)}
    measured = any(row.top1 for row in comparison.rows)
    return render(
        "comparison.html",
        subject=_subject(comparison),
        failed=comparison.failed,
        columns=columns,
        rows=[
            {"number": numbers[row.name], "cells": [(c, c.cell(row)) for c in columns]}
            for row in measured_rows(comparison)
        ],
        notes=notes(comparison),
        chart_title="Accuracy against cost" if measured else "Throughput against cost",
        chart=chart_svg(comparison),
        method=METHOD,
        verdicts=verdicts(comparison),
        tests=comparison.tests,
        class_names=comparison.class_names,
        confusions=[
            _confusion(row, comparison.class_names) for row in comparison.shown if row.confusion
        ],
        protocol=json_text(comparison.protocol, indent=2),
        data=comparison.as_dict(),
    )


def _subject(comparison: Comparison) -> str:
    data = comparison.protocol.get("data")
    names = counted(len(comparison.rows), "entry")
    if data is None:
        return f"{names}; no data set was given, so no accuracy was measured."
    return f"{names} on {counted(data['videos'], 'video')} of {data['root']} ({data['split']})."


def _confusion(row: Row, names: list[str]) -> dict[str, Any]:
    """The matrix with few classes, else the most frequent mistakes: it would be too large."""
    few = len(names) <= MOST_CLASSES
    columns, rows = _with_unread(row, names)
    return {
        "name": row.name,
        "columns": columns,
        "matrix": _matrix(rows, names) if few else None,
        "pairs": None if few else _pairs(rows, names, columns),
    }


def _with_unread(row: Row, names: list[str]) -> tuple[list[str], list[list[int]]]:
    """The answers and their counts, with a column of the videos that could not be read."""
    rows = row.confusion or []
    if not any(row.unread):
        return names, rows
    with_unread = [[*counts, unread] for counts, unread in zip(rows, row.unread, strict=True)]
    return [*names, "(unread)"], with_unread


def _matrix(
    rows: list[list[int]], names: list[str]
) -> list[tuple[str, list[tuple[int, float, bool]]]]:
    """Per class its cells: count, share of the class's videos, whether it is the right answer."""
    return [
        (name, [(n, n / (sum(counts) or 1), truth == k) for k, n in enumerate(counts)])
        for truth, (name, counts) in enumerate(zip(names, rows, strict=True))
    ]


def _pairs(
    rows: list[list[int]], names: list[str], columns: list[str]
) -> list[tuple[int, str, str]]:
    """(videos, truth, answer) of the most frequent mistakes."""
    mistakes = [
        (count, names[truth], columns[answer])
        for truth, counts in enumerate(rows)
        for answer, count in enumerate(counts)
        if count and truth != answer
    ]
    return sorted(mistakes, key=lambda mistake: -mistake[0])[:MOST_PAIRS]
