"""Write a comparison to a folder: JSON, CSV, Markdown, a page and a picture."""

from pathlib import Path

from videonl.evaluation.compare_page import page_html
from videonl.evaluation.compare_plot import save_picture
from videonl.evaluation.compare_result import Comparison
from videonl.evaluation.compare_table import csv_text, markdown
from videonl.inference.output import write_atomically
from videonl.json_text import json_text


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write every form of the table.

    Args:
        comparison: what to write.
        folder: is made where it is missing.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json_text(comparison.as_dict(), indent=1) + "\n"
    written = []
    for name, content in (
        ("compare.json", text),
        ("compare.csv", csv_text(comparison)),
        ("compare.md", markdown(comparison)),
        ("compare.html", page_html(comparison)),
    ):
        write_atomically(folder / name, content)
        written.append(folder / name)
    if save_picture(comparison, folder / "compare.png"):
        written.append(folder / "compare.png")
    return written
