"""The pictures of a summary."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from videonl.escapes import figure_text
from videonl.files import whole_stream


def plot_curves(rows: list[dict[str, float]], path: Path) -> bool:
    """Draw loss and accuracy over the steps; False where there is nothing to draw.

    Args:
        rows: of ``metrics.csv``.
        path: of the PNG.
    """
    several = any("val/map" in row for row in rows)
    accuracy = (("train/top1", "training clips"), ("val/top1", "validation"))
    ranking = (("train/hit1", "training clips, hit@1"), ("val/map", "validation, mAP"))
    panels = (
        ("loss", (("train/epoch_loss", "training"), ("val/loss", "validation"))),
        ("mAP, %", ranking) if several else ("top-1, %", accuracy),
    )
    if not any(key in row for row in rows for _, keys in panels for key, _ in keys):
        return False
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, keys) in zip(figure.subplots(1, 2), panels, strict=True):
        for key, label in keys:
            points = [(row["step"], row[key]) for row in rows if key in row]
            factor = 100 if title.endswith("%") else 1
            marker = "o" if len(points) < 60 else None
            axes.plot(
                [x for x, _ in points],
                [factor * y for _, y in points],
                marker=marker,
                markersize=3,
                label=label,
            )
        axes.set_xlabel("step")
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    with whole_stream(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
    return True


def plot_confusion(
    confusion: list[list[int]], class_names: list[str], path: Path, *, unread: Sequence[int]
) -> None:
    """Draw the confusion matrix, every row as shares of its class.

    Args:
        confusion: confusion[true][predicted].
        class_names: in the order of the labels.
        path: of the PNG.
        unread: videos of each class that could not be read; a column of their own, where some are.
    """
    if any(unread):
        confusion = [[*row, count] for row, count in zip(confusion, unread, strict=True)]
    size = max(4.0, 0.32 * len(class_names) + 2)
    with figure_text(class_names) as drawable:
        figure = Figure(figsize=(size, size), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        names = list(map(drawable, class_names))
        places = range(len(names))
        columns = [*names, "(unread)"] if any(unread) else names
        axes.set_xticks(range(len(columns)), columns, rotation=90)
        axes.set_yticks(places, names)
    shares = [[n / max(sum(row), 1) for n in row] for row in confusion]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for y, row in enumerate(confusion):
        for x, count in enumerate(row):
            if count and len(class_names) <= 20:
                colour = "white" if shares[y][x] > 0.6 else "black"
                axes.text(x, y, str(count), ha="center", va="center", color=colour, fontsize=8)
    with whole_stream(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
