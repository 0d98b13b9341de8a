"""Accuracy against GFLOPs; throughput where no accuracy was measured.

One figure, saved as a picture and embedded in the page of a comparison as SVG.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

from videonl.escapes import figure_text, shortened, visible
from videonl.evaluation.result import Comparison, Row
from videonl.evaluation.table import rate_words, share_words
from videonl.evaluation.verdict import interval_of
from videonl.files import whole_stream
from videonl.shares import counted, percent

Box = tuple[float, float, float, float]  # left, bottom, right, top (or top, bottom: all the same)
Offset = tuple[float, float]

# Steps from the marker to the near edge of the name, in units; nearest first.
STEPS = [
    (side * dx, up * dy)
    for dy in (0, 9, 18, 28, 40, 54, 72, 92)
    for dx in (9, 26, 46)
    for up in ((1, -1) if dy else (1,))
    for side in (1, -1)
]
OUTSIDE = 10  # how many covered names are as bad as one that leaves the frame


def overlap(first: Box, second: Box) -> bool:
    """Whether two boxes share any area."""
    return (
        first[0] < second[2]
        and second[0] < first[2]
        and first[1] < second[3]
        and second[1] < first[3]
    )


def label_box(marker: Offset, offset: Offset, size: tuple[float, float]) -> Box:
    """The box of a name: it begins at the offset where that is to the right, else it ends there."""
    x, y = marker[0] + offset[0], marker[1] + offset[1]
    left = x if offset[0] > 0 else x - size[0]
    return left, y - size[1] / 2, left + size[0], y + size[1] / 2


def distance_to_line(point: Offset, start: Offset, vector: Offset) -> float:
    """How far a point is from the straight line of a vector's length that begins at ``start``."""
    x, y = point[0] - start[0], point[1] - start[1]
    length = vector[0] ** 2 + vector[1] ** 2
    along = max(0.0, min(1.0, (x * vector[0] + y * vector[1]) / length)) if length else 0.0
    return math.hypot(x - along * vector[0], y - along * vector[1])


def place_labels(
    markers: Sequence[Offset],
    sizes: Sequence[tuple[float, float]],
    *,
    frame: Box,
    unit: float = 1.0,
) -> list[Offset]:
    """Choose a place for every name, one after the other, the nearest that is free.

    Args:
        markers: (x, y) of the markers.
        sizes: (width, height) of the names.
        frame: where the names must stay.
        unit: pixels of one unit of ``STEPS``; 1 for a picture at 72 dots per inch.

    Returns:
        Per name the offset from its marker to the near edge of its box, at middle height.
    """
    half = 4.5 * unit
    taken: list[Box] = [(x - half, y - half, x + half, y + half) for x, y in markers]
    chosen: list[Offset] = [(0.0, 0.0)] * len(markers)
    for index in sorted(range(len(markers)), key=lambda i: (-markers[i][1], markers[i][0])):
        best = None
        for step in STEPS:
            offset = (step[0] * unit, step[1] * unit)
            box = label_box(markers[index], offset, sizes[index])
            inside = frame[0] <= box[0] and box[2] <= frame[2]
            inside = inside and frame[1] <= box[1] and box[3] <= frame[3]
            clashes = sum(overlap(box, other) for other in taken) + OUTSIDE * (not inside)
            clashes += sum(  # the line to the name must not seem to begin at another marker
                distance_to_line(other, markers[index], offset) < half
                for place, other in enumerate(markers)
                if place != index and math.dist(other, markers[index]) >= half
            )
            if best is None or clashes < best[0]:
                best = (clashes, offset, box)
            if clashes == 0:
                break
        assert best is not None
        chosen[index] = best[1]
        taken.append(best[2])
    return chosen


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_SIZE = 8  # points
MOST_LETTERS = 32  # of a name beside its point
PLAIN, NON_LOCAL = "#4477aa", "#cc3311"  # told apart with any colour vision, and by the marker
SOFT = "#777777"
DEEPEST = 4  # spans of the points that the axis goes down at most to show the constant answer
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True)
class Point:
    """A row as a point: ``x`` in GFLOPs per view, ``y`` with its interval.

    ``number`` is the row's place in the table, ``said`` its figure with its interval in words.
    """

    number: int
    name: str
    said: str
    x: float
    y: float
    low: float
    high: float
    non_local: bool


@dataclass(frozen=True)
class Chart:
    """What is drawn.

    Attributes:
        points: at least one.
        accuracy: whether y is the top-1 accuracy in per cent; else clips per second.
        floors: what answers score that see no picture: (in words, in per cent, dashes).
        x_label: what the x axis says.
        title: of the picture.
    """

    points: list[Point]
    accuracy: bool
    floors: list[tuple[str, float, str]]
    x_label: str
    title: str

    @property
    def y_label(self) -> str:
        """What the y axis says."""
        return "top-1 accuracy (%)" if self.accuracy else "clips per second"


def chart_of(comparison: Comparison) -> Chart | None:
    """The chart of a comparison, or None where there is nothing to draw."""
    accuracy = any(row.top1 for row in comparison.rows)
    points = []
    for number, row in enumerate(comparison.shown):
        values = _accuracy(row) if accuracy else _throughput(row)
        if row.flops and values:
            x = row.flops / 1e9
            said = share_words(row.top1) if accuracy else f"{rate_words(row.inference)} clips/s"
            points.append(Point(number, row.name, said, x, *values, bool(row.non_local_macs)))
    if not points:
        return None
    shapes = sorted({row.shown_input for row in comparison.rows if row.input})
    shape = shapes[0] if len(shapes) == 1 else "inputs differ"
    return Chart(
        points,
        accuracy,
        _floors(comparison) if accuracy else [],
        f"GFLOPs per view (2 x GMACs; input {shape})",
        _title(comparison, accuracy=accuracy),
    )


def _floors(comparison: Comparison) -> list[tuple[str, float, str]]:
    found = (
        ("always the most frequent class", comparison.constant, "--"),
        ("from size, rate, length, codec and bytes", comparison.shortcut, ":"),
    )
    videos = comparison.protocol["data"]["videos"]
    return [
        (f"{words}: {percent(value, videos)}", 100 * value, dashes)
        for words, value, dashes in found
        if value
    ]


def _accuracy(row: Row) -> tuple[float, float, float] | None:
    if not row.top1 or not row.top1["total"]:
        return None
    low, high = interval_of(row.top1)
    return 100 * row.top1["value"], 100 * low, 100 * high


def _throughput(row: Row) -> tuple[float, float, float] | None:
    speed = row.inference
    return (speed["clips_per_second"], speed["low"], speed["high"]) if speed else None


def _title(comparison: Comparison, *, accuracy: bool) -> str:
    data = comparison.protocol.get("data")
    if data and accuracy:
        name = shortened(Path(data["root"]).name, MOST_LETTERS)
        scores = [row.top1 for row in comparison.shown if row.top1]
        over = "95 % over seeds and videos"
        if not any("deviation" in score for score in scores):
            over = "95 % over groups of videos" if comparison.video_groups else "95 % (Wilson)"
        elif not all("interval95" in score for score in scores if "deviation" in score):
            over = "range over seeds"
        return (
            f"{name} ({data['split']}): {counted(data['videos'], 'video')}, "
            f"{comparison.protocol['views']} views, bars: {over}"
        )
    machine = comparison.protocol.get("environment", {})
    where = machine.get("accelerator") or machine.get("processor", "")
    return f"inference on {shortened(where, 60)}, bars: quartiles"


def draw_chart(comparison: Comparison) -> "Figure | None":
    """The figure, or None where there is nothing to draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chart = chart_of(comparison)
    if chart is None:
        return None
    with figure_text([chart.title, *(p.name for p in chart.points)]) as drawable:
        figure = Figure(figsize=(8, 5.2), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_title(drawable(chart.title), loc="left", fontsize=10)
        axes.set_xlabel(chart.x_label)
        axes.set_ylabel(chart.y_label)
        _set_cost_axis(axes, [p.x for p in chart.points])
        _set_result_axis(axes, chart)
        _draw_points(axes, chart)
        names = [shortened(drawable(p.name), MOST_LETTERS) for p in chart.points]
        _place_labels(figure, axes, chart.points, names)
    return figure


def _set_cost_axis(axes: "Axes", costs: list[float]) -> None:
    """From zero, so that a cost twice as high stands twice as far; logarithmic over a wide range.

    Room is left to the right of the last point for its name.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    low, high = min(costs), max(costs)
    if high > 8 * low:
        left, right = low / 1.6, high * 2.4
        axes.set_xscale("log")
        axes.set_xlim(left, right)
        ticks = [m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5)]
        axes.set_xticks([tick for tick in ticks if left <= tick <= right])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_xlim(0, 1.3 * high)
        axes.xaxis.set_major_locator(MaxNLocator(7))


def _set_result_axis(axes: "Axes", chart: Chart) -> None:
    """All points with their intervals, and the answers without a picture if not far below them."""
    bottom, top = min(p.low for p in chart.points), max(p.high for p in chart.points)
    span = top - bottom
    for words, value, dashes in chart.floors:
        if bottom - value <= DEEPEST * span:
            bottom, top = min(bottom, value), max(top, value)
        else:
            words += ", below this axis"
        axes.axhline(value, color=SOFT, linestyle=dashes, linewidth=1, label=words, zorder=2)
    margin = 0.18 * (top - bottom) or 0.2 * top or 1
    highest = min(105, top + margin) if chart.accuracy else top + margin
    axes.set_ylim(max(0, bottom - margin), highest)
    axes.grid(color="#eeeeee", zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_points(axes: "Axes", chart: Chart) -> None:
    """Markers with their bars, and the legend where there is something to tell."""
    kinds = ((False, "o", PLAIN, "without"), (True, "D", NON_LOCAL, "with"))
    for non_local, marker, colour, word in kinds:
        for rank, point in enumerate(p for p in chart.points if p.non_local is non_local):
            drawn = axes.errorbar(
                [point.x],
                [point.y],
                yerr=[[point.y - point.low], [point.high - point.y]],
                fmt=marker,
                color=colour,
                ecolor="#bbbbbb",
                capsize=3,
                markersize=7,
                label=None if rank else f"{word} non-local blocks",
                zorder=3,
            )
            drawn.lines[0].set_gid(f"point-{point.number}")
    if chart.floors or any(p.non_local for p in chart.points):
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False, fontsize=9
        )


def _place_labels(figure: "Figure", axes: "Axes", points: list[Point], names: list[str]) -> None:
    """Write every name beside its marker, where it covers no other name and no marker."""
    figure.canvas.draw()
    figure.set_layout_engine("none")  # the labels must not move the axes that they are measured in
    renderer: Any = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    frame = axes.get_window_extent(renderer)
    markers = [tuple(axes.transData.transform((p.x, p.y))) for p in points]
    sizes = []
    for name in names:
        text = axes.text(0, 0, name, fontsize=LABEL_SIZE)
        box = text.get_window_extent(renderer).padded(2)
        sizes.append((box.width, box.height))
        text.remove()
    unit = figure.dpi / 72
    places = place_labels(markers, sizes, frame=(frame.x0, frame.y0, frame.x1, frame.y1), unit=unit)
    for point, name, (dx, dy) in zip(points, names, places, strict=True):
        _write_label(axes, point, name, (dx / unit, dy / unit))


def _write_label(axes: "Axes", point: Point, name: str, offset: tuple[float, float]) -> None:
    """A name at an offset in points; a thin line leads to it where it stands far away."""
    from matplotlib.patheffects import withStroke

    far = abs(offset[0]) + abs(offset[1]) > 20
    axes.annotate(
        name,
        (point.x, point.y),
        xytext=offset,
        textcoords="offset points",
        ha="left" if offset[0] > 0 else "right",
        va="center",
        fontsize=LABEL_SIZE,
        arrowprops={"arrowstyle": "-", "color": "#999999", "lw": 0.6} if far else None,
        zorder=5,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],  # readable across bars
        gid=f"name-{point.number}",
    )


def save_chart(comparison: Comparison, path: Path) -> bool:
    """Write the picture; False where there is nothing to draw.

    Raises:
        OutputError: it cannot be written there.
    """
    figure = draw_chart(comparison)
    if figure is None:
        return False
    with whole_stream(path) as stream:
        figure.savefig(stream, format="png")
    return True


def chart_svg(comparison: Comparison) -> Markup:
    """The same as SVG inside a page, or an empty text where there is nothing to draw.

    Groups of the class ``point`` know their row of the table (``data-row``) and say their figures;
    groups of the class ``name`` are their names.
    """
    from matplotlib import rc_context

    chart, figure = chart_of(comparison), draw_chart(comparison)
    if chart is None or figure is None:
        return Markup("")
    for text in figure.axes[0].texts:
        text.set_path_effects([])  # they would turn letters into outlines; the page's style strokes
    file = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "videonl"}):  # texts; stable ids
        figure.savefig(file, format="svg", metadata=NO_METADATA)
    root = ElementTree.fromstring(file.getvalue())
    for element in root.iter():  # inside HTML the names stand without their XML namespaces
        element.tag = _local(element.tag)
        for key in list(element.attrib):
            element.set(_local(key), element.attrib.pop(key))
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    label = f"{chart.y_label} against GFLOPs per view"
    root.attrib |= {"id": "chart", "role": "img", "aria-label": label}
    for point in chart.points:
        _mark(root, point)
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _mark(root: ElementTree.Element, point: Point) -> None:
    """Give a point and its name their classes, and the browser's fonts all letters of the name."""
    group, words = (root.find(f".//g[@id='{kind}-{point.number}']") for kind in ("point", "name"))
    assert group is not None
    assert words is not None
    group.attrib |= {"class": "point", "data-row": str(point.number)}
    title = ElementTree.Element("title")
    title.text = f"{visible(point.name)}: {point.said} at {point.x:.4g} GFLOPs per view"
    group.insert(0, title)
    words.set("class", "name")
    for text in words.iter("text"):
        text.text = shortened(point.name, MOST_LETTERS)
