"""The pictures of a training: its curves, and a confusion matrix."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from videonl.escapes import figure_text, shortened
from videonl.files import whole_stream
from videonl.shares import accuracy, wilson_of

LONGEST_NAME = 30  # letters, at a side of a confusion picture
PAGE, LINE = 10.0, 0.14  # inches: the width of a page, where 9 points are 12 pixels; a name's line


def epoch_places(rows: list[dict[str, float]]) -> Callable[[Mapping[str, float]], float]:
    """A function for the position of a row of ``metrics.csv``: 2.0 at the end of the second epoch.

    A validation within an epoch has a position within it.
    """
    ends = {row["epoch"]: row["step"] + 1 for row in rows if "train/epoch_loss" in row}

    def place(row: Mapping[str, float]) -> float:
        epoch, step = row["epoch"], row["step"] + 1
        first, last = ends.get(epoch - 1, 0.0), ends.get(epoch, step)
        return epoch + (step - first) / max(last - first, 1.0)

    return place


def plot_curves(
    rows: list[dict[str, float]], path: Path, *, videos: int, best: int | None = None
) -> bool:
    """Draw loss and accuracy over the epochs; False if there is nothing to draw.

    Args:
        rows: of ``metrics.csv``.
        path: of the PNG.
        videos: of the validation; their uncertainty is a band around its accuracy.
        best: the epoch to mark, counted from 1.
    """
    several = any("val/map" in row for row in rows)
    accuracy = (("train/top1", "training clips"), ("val/top1", "validation"))
    ranking = (("train/hit1", "training clips, hit@1"), ("val/map", "validation, mAP"))
    panels = (
        ("loss", (("train/epoch_loss", "training"), ("val/loss", "validation"))),
        ("mAP (%)", ranking) if several else ("top-1 (%)", accuracy),
    )
    if not any(key in row for row in rows for _, keys in panels for key, _ in keys):
        return False
    place = epoch_places(rows)
    figure = Figure(figsize=(PAGE, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, keys) in zip(figure.subplots(1, 2), panels, strict=True):
        factor = 100 if "%" in title else 1
        for key, label in keys:
            points = [(place(row), row[key]) for row in rows if key in row]
            marker = "o" if len(points) < 60 else None
            axes.plot(
                [x for x, _ in points],
                [factor * y for _, y in points],
                marker=marker,
                markersize=3,
                label=label,
            )
            if key == "val/top1" and videos and points:
                _draw_intervals(axes, points, videos)
        first, last = axes.dataLim.intervalx
        if 0 <= last - first < 1:  # else the axis of a single epoch has fractions alone
            axes.set_xlim(first - 0.6, last + 0.6)
        if best is not None and first < last:
            axes.axvline(best, color="grey", linestyle=":", label=f"best, epoch {best}")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    with whole_stream(path) as stream:
        figure.savefig(stream, format="png", dpi=140)
    return True


def _draw_intervals(axes: Axes, points: Sequence[tuple[float, float]], videos: int) -> None:
    """Wilson's intervals of shares: a band, or the bar of a single one."""
    places = [x for x, _ in points]
    low, high = 100 * np.transpose([wilson_of(y, videos) for _, y in points])
    colour, words = axes.lines[-1].get_color(), "95 % (Wilson)"
    if len(points) > 1:
        axes.fill_between(places, low, high, alpha=0.15, color=colour, label=words)
    else:
        axes.vlines(places, low, high, color=colour, alpha=0.5, label=words)


def plot_confusion(
    confusion: list[list[int]], class_names: list[str], path: Path, *, unread: Sequence[int]
) -> None:
    """Draw the confusion matrix, every row as shares of its class.

    Of many classes, some are named; long names are shortened.

    Args:
        confusion: confusion[true][predicted].
        class_names: in the order of the labels.
        path: of the PNG.
        unread: videos of each class that could not be read; a column of their own, where some are.
    """
    some = any(unread)
    if some:
        confusion = [[*row, count] for row, count in zip(confusion, unread, strict=True)]
    count, most = len(class_names), max(map(max, confusion))
    with figure_text(class_names) as drawable:
        names = [shortened(drawable(name), LONGEST_NAME) for name in class_names]
        room = min(3.9, max(0.7, *(0.075 * len(name.encode()) for name in names)))
        cell = min(0.75, (PAGE - room - 0.6) / (count + some))
        step = math.ceil(LINE / cell)
        wide = max(3.2, cell * (count + some) + room + 0.6)  # the title needs room, too
        figure = Figure(figsize=(wide, cell * count + room + 0.9))
        figure.set_layout_engine("constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        shown = [(place, names[place]) for place in range(0, count, step)]
        axes.set_yticks(*zip(*shown, strict=True))
        if some:
            shown = [(place, name) for place, name in shown if place <= count - step]
            shown.append((count, "(unread)"))
        axes.set_xticks(*zip(*shown, strict=True), rotation=90)
    shares = [[n / max(sum(row), 1) for n in row] for row in confusion]
    right, total = sum(row[i] for i, row in enumerate(confusion)), sum(map(sum, confusion))
    figure.suptitle(f"top-1 {accuracy(right / max(total, 1), total)}", fontsize=10)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(labelsize=9)
    if cell > 0.07 * len(str(most)) + 0.05:
        for y, row in enumerate(confusion):
            for x, number in enumerate(row):
                colour = "white" if shares[y][x] > 0.7 else "black"  # 4.5 to 1 at least
                written = str(number or "")
                place: dict[str, Any] = {"ha": "center", "va": "center", "in_layout": False}
                axes.text(x, y, written, color=colour, fontsize=8, **place)
    with whole_stream(path) as stream:
        figure.savefig(stream, format="png", dpi=140)
