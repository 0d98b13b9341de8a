"""Accuracy against GFLOPs as inline SVG, for the page that needs nothing but itself."""

import math
from html import escape

from videonl.evaluation.compare_plot import NON_LOCAL, PLAIN, Point, points_of
from videonl.evaluation.compare_result import Comparison
from videonl.evaluation.label_places import place_labels

WIDTH, HEIGHT = 860, 470
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 18, 76
LETTER = 7.0  # width of a letter of a label in pixels, rather too much than too little


class Axis:
    """One axis: maps values to pixels, linearly or logarithmically, and knows its ticks.

    Args:
        low: lowest value shown.
        high: highest value shown.
        start: pixel of the lowest value.
        end: pixel of the highest value.
        log: logarithmic.
    """

    def __init__(
        self, low: float, high: float, start: float, end: float, *, log: bool = False
    ) -> None:
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def pixel(self, value: float) -> float:
        """Where a value lies."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the axis."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            every = [m * 10.0**e for e in decades for m in (1, 2, 5)]
            return [value for value in every if self.low <= value <= self.high]
        rough = (self.high - self.low) / 6
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough)
        first = math.ceil(self.low / step)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def axes_of(points: list[Point], *, accuracy: bool) -> tuple[Axis, Axis]:
    """Axes that hold all points with their intervals, and room for the names."""
    low, high = min(p.x for p in points), max(p.x for p in points)
    log = high > 8 * low
    if log:
        low, high = low / 1.6, high * 2.2
    else:
        margin = 0.12 * (high - low) or 0.3 * high
        low, high = max(0.0, low - margin), high + 2.5 * margin
    bottom, top = min(p.low for p in points), max(p.high for p in points)
    margin = 0.15 * (top - bottom) or 0.2 * top or 1.0
    bottom, top = max(0.0, bottom - margin), top + margin
    if accuracy:
        top = min(top, 102.0)
    return (
        Axis(low, high, LEFT, WIDTH - RIGHT, log=log),
        Axis(bottom, top, HEIGHT - BOTTOM, TOP),
    )


def chart_svg(comparison: Comparison) -> str:
    """The chart, or an empty text where there is nothing to draw."""
    points, label = points_of(comparison)
    if not points:
        return ""
    x_axis, y_axis = axes_of(points, accuracy=label.startswith("top-1"))
    shapes = sorted({row.input for row in comparison.rows if row.input})
    shape = shapes[0] if len(shapes) == 1 else "inputs differ"
    x_label = f"GFLOPs per view (2 x GMACs; input {shape})"
    parts = [
        f'<svg id="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(label)} against GFLOPs per view">',
        *_grid(x_axis, y_axis),
        *_texts(x_label, label, x_axis),
        *_points(points, x_axis, y_axis),
        *_legend(points),
        "</svg>",
    ]
    return "\n".join(parts)


def _grid(x_axis: Axis, y_axis: Axis) -> list[str]:
    """Lines with their numbers."""
    bottom = HEIGHT - BOTTOM
    parts = []
    for value in x_axis.ticks():
        x = x_axis.pixel(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value:.6g}</text>')
    for value in y_axis.ticks():
        y = y_axis.pixel(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.6g}</text>')
    return parts


def _texts(x_label: str, y_label: str, x_axis: Axis) -> list[str]:
    """Names of the axes."""
    bottom = HEIGHT - BOTTOM
    middle = (x_axis.start + x_axis.end) / 2
    height = (TOP + bottom) / 2
    return [
        f'<text x="{middle}" y="{bottom + 40}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(16 {height}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>",
    ]


def _points(points: list[Point], x_axis: Axis, y_axis: Axis) -> list[str]:
    """Bars, markers with tooltips, and names."""
    places = [(x_axis.pixel(p.x), y_axis.pixel(p.y)) for p in points]
    sizes = [(LETTER * len(p.name) + 4, 15.0) for p in points]
    frame = (LEFT, TOP, WIDTH - RIGHT + 16, HEIGHT - BOTTOM)
    offsets = place_labels(places, sizes, frame=frame, unit=1.2)
    bars, lines, markers, names = [], [], [], []
    for point, (x, y), (dx, dy) in zip(points, places, offsets, strict=True):
        low, high = y_axis.pixel(point.low), y_axis.pixel(point.high)
        bars.append(f'<path class="bar" d="M{x:.1f} {low:.1f}V{high:.1f}"/>')
        if abs(dx) + abs(dy) > 24:
            lines.append(f'<path class="lead" d="M{x:.1f} {y:.1f}l{dx:.1f} {dy:.1f}"/>')
        tip = (
            f"{point.name}: {point.y:.4g} [{point.low:.4g}, {point.high:.4g}] "
            f"at {point.x:.4g} GFLOPs per view"
        )
        markers.append(
            f'<g class="point" data-row="{escape(point.name)}">{_marker(point.non_local, x, y)}'
            f"<title>{escape(tip)}</title></g>"
        )
        anchor = "start" if dx > 0 else "end"
        names.append(
            f'<text class="name" x="{x + dx:.1f}" y="{y + dy + 4:.1f}" text-anchor="{anchor}">'
            f"{escape(point.name)}</text>"
        )
    return bars + lines + markers + names


def _marker(non_local: bool, x: float, y: float) -> str:
    if non_local:
        return f'<path fill="{NON_LOCAL}" d="M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z"/>'
    return f'<circle fill="{PLAIN}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>'


def _legend(points: list[Point]) -> list[str]:
    """Which marker is which, where there are both."""
    if len({p.non_local for p in points}) < 2:
        return []
    y, middle = HEIGHT - 12, WIDTH / 2
    return [
        _marker(False, middle - 170, y),
        f'<text x="{middle - 158}" y="{y + 4}">without non-local blocks</text>',
        _marker(True, middle + 30, y),
        f'<text x="{middle + 42}" y="{y + 4}">with non-local blocks</text>',
    ]
