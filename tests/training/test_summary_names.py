"""Names of classes that mean something in Markdown or in mathematics, in the summary of a run."""

import warnings
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from matplotlib.image import imread

from videonl.training import write_summary

pytestmark = pytest.mark.usefixtures("real_plots")
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


@pytest.mark.parametrize("names", [["x" * 255, "y" * 255], ["\u4e2d" * 85, "\x07" * 255]])
def test_long_names_leave_room_for_the_confusion(names: list[str], tmp_path: Path) -> None:
    best = {"epoch": 1, "videos": 6, "loss": 1.0, "top1": 0.5, "top5": 1.0, "macro": 0.5,
            "majority": 0.5, "per_class": [0.5, 0.5], "confusion": [[3, 0], [3, 0]],
            "unread": 0, "unread_per_class": [0, 0]}  # fmt: skip
    (tmp_path / "metrics.csv").write_text("step\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_summary(tmp_path, title="net", class_names=names, best=best, epochs=1)
    picture = imread(tmp_path / "confusion.png")[..., :3]
    blue = picture[..., 2] - picture[..., 0] > 0.3  # of a class that is always answered
    assert blue.sum() > 1000


@pytest.mark.slow
def test_the_confusion_of_many_classes_is_drawn(tmp_path: Path) -> None:
    count = 130
    confusion = [
        [3 * (i == j) + (j == (i + 1) % count) for j in range(count)] for i in range(count)
    ]
    best = {"epoch": 2, "videos": 4 * count, "loss": 1.0, "top1": 0.75, "top5": 1.0, "macro": 0.75,
            "majority": 0.01, "per_class": [0.75] * count, "confusion": confusion,
            "unread": 1, "unread_per_class": [1] + [0] * (count - 1)}  # fmt: skip
    rows = ["step,epoch,train/epoch_loss,train/top1,val/loss,val/top1"]
    rows += [f"{9 * (n + 1) - 1},{n},{2 - n / 4},{n / 4},{2 - n / 5},{n / 5}" for n in range(4)]
    (tmp_path / "metrics.csv").write_text("\n".join([*rows, ""]))
    names = [f"a class of the name {i}" for i in range(count)]
    path = write_summary(tmp_path, title="net", class_names=names, best=best, epochs=4)
    for picture in ("confusion.png", "curves.png"):
        assert f"]({picture})" in path.read_text(encoding="utf-8")
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
