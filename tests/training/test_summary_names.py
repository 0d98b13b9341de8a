"""Names of classes that mean something in Markdown or in mathematics, in the summary of a run."""

import warnings
from pathlib import Path

from markdown_it import MarkdownIt

from videonl.training import write_summary

NAMES = ["a|b", "<b>x</b>", "$\\frac", "跳ぶ"]
COUNTS = [[2, 1, 0, 0], [0, 3, 0, 0], [1, 0, 2, 0], [0, 0, 3, 0]]


def test_summary_and_confusion_show_them(tmp_path: Path) -> None:
    best = {"epoch": 1, "videos": 12, "loss": 1.0, "top1": 0.6, "top5": 1.0, "macro": 0.6,
            "majority": 0.25, "per_class": [0.6, 1.0, 0.6, 0.0], "confusion": COUNTS,
            "unread": 0, "unread_per_class": [0, 0, 0, 0]}  # fmt: skip
    (tmp_path / "metrics.csv").write_text("step\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = write_summary(tmp_path, title="net", class_names=NAMES, best=best, epochs=1)
    assert (tmp_path / "confusion.png").stat().st_size > 1000
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    cells = [
        "".join(child.content for child in tokens[i + 1].children or [])
        for i, token in enumerate(tokens)
        if token.type == "td_open"
    ]
    assert cells[-16::4] == NAMES
    assert cells[-13] == "<b>x</b> (1)"
