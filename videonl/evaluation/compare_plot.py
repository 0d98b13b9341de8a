"""Accuracy against GFLOPs as a picture; throughput where no accuracy was measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videonl.evaluation.compare_result import Comparison, Row
from videonl.evaluation.label_places import place_labels
from videonl.files import whole_stream

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_SIZE = 8  # points
PLAIN, NON_LOCAL = "#4477aa", "#cc3311"  # told apart with any colour vision, and by the marker


@dataclass(frozen=True)
class Point:
    """A row as a point: ``x`` in GFLOPs per view, ``y`` with its interval."""

    name: str
    x: float
    y: float
    low: float
    high: float
    non_local: bool


def points_of(comparison: Comparison) -> tuple[list[Point], str]:
    """The points, and what the y axis says; accuracy where there is any, else clips/s."""
    accuracy = any(row.top1 for row in comparison.rows)
    points = []
    for row in comparison.shown:
        values = _accuracy(row) if accuracy else _throughput(row)
        if row.flops and values:
            points.append(Point(row.name, row.flops / 1e9, *values, bool(row.non_local_macs)))
    return points, "top-1 accuracy (%)" if accuracy else "clips per second"


def _accuracy(row: Row) -> tuple[float, float, float] | None:
    if not row.top1 or not row.top1["total"]:
        return None
    low, high = row.top1.get("wilson95") or row.top1["range"]
    return 100 * row.top1["value"], 100 * low, 100 * high


def _throughput(row: Row) -> tuple[float, float, float] | None:
    speed = row.inference
    return (speed["clips_per_second"], speed["low"], speed["high"]) if speed else None


def draw(comparison: Comparison) -> "Figure | None":
    """The figure, or None where there is nothing to draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points, label = points_of(comparison)
    if not points:
        return None
    figure = Figure(figsize=(8, 5.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for non_local, marker in ((False, "o"), (True, "D")):
        chosen = [point for point in points if point.non_local is non_local]
        if chosen:
            axes.errorbar(
                [p.x for p in chosen],
                [p.y for p in chosen],
                yerr=[[p.y - p.low for p in chosen], [p.high - p.y for p in chosen]],
                fmt=marker,
                color=NON_LOCAL if non_local else PLAIN,
                ecolor="#bbbbbb",
                capsize=3,
                markersize=7,
                label="with non-local blocks" if non_local else "without",
                zorder=3,
            )
    _set_axes(axes, points, label, comparison)
    _place_labels(figure, axes, points)
    return figure


def _set_axes(axes: "Axes", points: list[Point], label: str, comparison: Comparison) -> None:
    """Scales, ranges and texts."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    low, high = min(p.x for p in points), max(p.x for p in points)
    if high > 8 * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.6, high * 2.4)
        ticks = [m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5)]
        axes.set_xticks([tick for tick in ticks if low / 1.6 <= tick <= high * 2.4])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        margin = 0.12 * (high - low) or 0.3 * high
        axes.set_xlim(max(0, low - margin), high + 2.5 * margin)
        axes.xaxis.set_major_locator(MaxNLocator(7))
    bottom, top = min(p.low for p in points), max(p.high for p in points)
    margin = 0.18 * (top - bottom) or 0.2 * top or 1
    axes.set_ylim(max(0, bottom - margin), top + margin)
    if label.startswith("top-1"):
        axes.set_ylim(max(0, bottom - margin), min(105, top + margin))
    axes.set_ylabel(label)
    shapes = sorted({row.input for row in comparison.rows if row.input})
    shape = shapes[0] if len(shapes) == 1 else "inputs differ"
    axes.set_xlabel(f"GFLOPs per view (2 x GMACs; input {shape})")
    axes.grid(color="#eeeeee", zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_title(_title(label, comparison), loc="left", fontsize=10)
    if any(p.non_local for p in points):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)


def _title(label: str, comparison: Comparison) -> str:
    data = comparison.protocol.get("data")
    if data and label.startswith("top-1"):
        name = Path(data["root"]).name
        bars = "range over seeds" if comparison.differences else "95 % Wilson interval"
        return (
            f"{name} ({data['split']}): {data['videos']} videos, "
            f"{comparison.protocol['views']} views, bars: {bars}"
        )
    machine = comparison.protocol.get("environment", {})
    where = machine.get("accelerator") or machine.get("processor", "")
    return f"inference on {where}, bars: quartiles"


def _place_labels(figure: "Figure", axes: "Axes", points: list[Point]) -> None:
    """Write every name beside its marker, where it covers no other name and no marker."""
    figure.canvas.draw()
    figure.set_layout_engine("none")  # the labels must not move the axes that they are measured in
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    frame = axes.get_window_extent(renderer)
    markers = [tuple(axes.transData.transform((p.x, p.y))) for p in points]
    sizes = []
    for point in points:
        text = axes.text(0, 0, point.name, fontsize=LABEL_SIZE)
        box = text.get_window_extent(renderer).padded(2)
        sizes.append((box.width, box.height))
        text.remove()
    unit = figure.dpi / 72
    places = place_labels(markers, sizes, frame=(frame.x0, frame.y0, frame.x1, frame.y1), unit=unit)
    for point, (dx, dy) in zip(points, places, strict=True):
        _write_label(axes, point, (dx / unit, dy / unit))


def _write_label(axes: "Axes", point: Point, offset: tuple[float, float]) -> None:
    """A name at an offset in points; a thin line leads to it where it stands far away."""
    from matplotlib.patheffects import withStroke

    far = abs(offset[0]) + abs(offset[1]) > 20
    axes.annotate(
        point.name,
        (point.x, point.y),
        xytext=offset,
        textcoords="offset points",
        ha="left" if offset[0] > 0 else "right",
        va="center",
        fontsize=LABEL_SIZE,
        arrowprops={"arrowstyle": "-", "color": "#999999", "lw": 0.6} if far else None,
        zorder=5,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],  # readable across bars
    )


def save_picture(comparison: Comparison, path: Path) -> bool:
    """Write the picture; False where there is nothing to draw."""
    figure = draw(comparison)
    if figure is None:
        return False
    with whole_stream(path) as stream:
        figure.savefig(stream, format="png")
    return True
