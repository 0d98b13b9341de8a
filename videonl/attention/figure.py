"""The picture of the paper's Figure 3: frames, the query, arrows to what it looks at most."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from videonl.attention.heat_map import colours, overlay, seen_mask
from videonl.attention.map import KINDS, AttentionMap, Place
from videonl.escapes import figure_text
from videonl.files import whole_stream
from videonl.shares import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRAMES = 8  # drawn at least, if the clip has them; more where arrows lead to more
FAINTEST = 0.02  # arrows to weights below this share of the largest are left out
INK, SOFT = "#1c2530", "#5b6673"
# Inches. A page is about 1000 pixels wide: 100 of them are an inch, 9 points 12 pixels.
WIDTH, MARGIN = 10.0, 0.2
WORDS, TITLE = 9.0, 12.0  # points
MOST_PER_LINE, LARGEST = 8, 3.2  # frames; side of one
GAP = 0.04  # between frames
SHAPE = 0.35  # height / width that the frames together come near to


@dataclass(frozen=True)
class _Layout:
    """Where the frames lie: two equal grids of full lines, the one with the arrows above.

    The words of a frame stand above it; of two lines, those of the second below it, so that no
    arrow from line to line has to cross words.

    Attributes:
        columns: frames in a line.
        lines: of each grid.
        side: width of a frame.
        tall: its height.
        label: height of its words.
        top: where the upper grid begins, from the top.
        height: of the whole figure.
    """

    columns: int
    lines: int
    side: float
    tall: float
    label: float
    top: float
    height: float

    @property
    def grid(self) -> float:
        """Height of a grid."""
        return self.lines * (self.tall + self.label)

    @property
    def between(self) -> float:
        """From one grid to the other."""
        return 0.25 if self.lines == 2 else 0.1

    def below(self, number: int) -> bool:
        """Whether the words of a frame stand below it."""
        return self.lines == 2 and number >= self.columns

    def place(self, number: int, *, lower: bool) -> tuple[float, float]:
        """(left, bottom) of a frame, in inches from the lower left corner."""
        line, column = divmod(number, self.columns)
        left = (WIDTH - self.columns * self.side) / 2 + column * self.side
        end = self.top + (line + 1) * (self.tall + self.label)
        end += self.grid + self.between if lower else 0.0
        end -= self.label - GAP if self.below(number) else 0.0
        return left, self.height - end


def draw_figure(found: AttentionMap) -> "Figure":
    """The figure: full lines of frames with the arrows; below, the same under their heat."""
    title, lines = _words(found)
    with figure_text([title, *lines]) as drawable:
        return _draw(found, drawable(title), list(map(drawable, lines)))


def _draw(found: AttentionMap, title: str, words: list[str]) -> "Figure":
    from matplotlib.figure import Figure

    frames = frames_to_draw(found)
    heading = [
        *((line, TITLE) for line in _wrapped(title, TITLE, WIDTH - 2 * MARGIN)),
        *((line, WORDS) for text in words for line in _wrapped(text, WORDS, WIDTH - 2 * MARGIN)),
    ]
    layout = _lay_out(found, len(frames), top=0.25 + 0.2 * len(heading))
    figure = Figure(figsize=(WIDTH, layout.height), facecolor="white")
    size = (WIDTH, layout.height)
    panels: dict[int, Axes] = {}
    for lower, pictures in ((False, _dimmed(found)), (True, overlay(found))):
        for number, frame in enumerate(frames):
            left, bottom = layout.place(number, lower=lower)
            box = (left / WIDTH, bottom / size[1])
            shape = ((layout.side - GAP) / WIDTH, layout.tall / size[1])
            axes = figure.add_axes((*box, *shape))
            _picture(axes, pictures[frame], found)
            panels.setdefault(frame, axes)
            below = layout.below(number)
            edge = bottom if below else bottom + layout.tall
            _label(figure, layout, (left, edge), _name(found, frame, layout), below=below)
    _arrows(figure, panels, found, layout)
    for number, (line, points) in enumerate(heading):
        place = MARGIN / WIDTH, 1 - (0.3 + 0.2 * number) / size[1]
        weight, ink = ("bold", INK) if points == TITLE else ("normal", SOFT)
        figure.text(*place, line, fontsize=points, zorder=8, color=ink, fontweight=weight)
    _colour_bar(figure, size, found)
    return figure


def save_figure(found: AttentionMap, path: str | Path) -> None:
    """Draw to a PNG file, which appears when it is whole."""
    with whole_stream(path) as stream:
        draw_figure(found).savefig(stream, format="png", dpi=140)


def clip_frame(place: Place) -> int:
    """The frame of the clip that a place is drawn on: the earlier one, between two."""
    return max(0, math.floor(place.time + 1e-9))


def arrows_of(found: AttentionMap) -> list[Place]:
    """The strongest places on the drawn frames whose weight is not vanishing beside the largest."""
    frames = set(frames_to_draw(found))
    return [place for place in _candidates(found) if _drawn_on(found, place) in frames]


def _candidates(found: AttentionMap) -> list[Place]:
    largest = max((abs(place.weight or 0.0) for place in found.strongest), default=0.0)
    return [p for p in found.strongest if abs(p.weight or 0.0) >= FAINTEST * largest]


def _drawn_on(found: AttentionMap, place: Place) -> int:
    return min(clip_frame(place), len(found.clip.indices) - 1)


def frames_to_draw(found: AttentionMap) -> list[int]:
    """Frames of the clip: those of the query and of the arrows, filled up evenly to full lines.

    Where the clip has no frames to fill the last line with, those of the weakest arrows go.
    """
    count = len(found.clip.indices)
    ranked = dict.fromkeys(_drawn_on(found, p) for p in (found.query, *_candidates(found)))
    wanted = max(len(ranked), min(FRAMES, count))
    columns, lines = _full_lines(wanted, count, found.clip.size[0] / found.clip.size[1])
    for many in range(columns * lines, count + 1):
        for frame in np.linspace(0, count - 1, many).round().astype(int).tolist():
            if len(ranked) < columns * lines:
                ranked.setdefault(frame)
    return sorted(list(ranked)[: columns * lines])


def _full_lines(wanted: int, count: int, ratio: float) -> tuple[int, int]:
    """(frames in a line, lines): no line is shorter than the others.

    Args:
        wanted: frames to draw; up to three more may be.
        count: frames of the clip.
        ratio: height / width of a frame.
    """

    def cost(shape: tuple[int, int]) -> float:
        columns, lines = shape
        extra = 0.15 * (columns * lines - wanted)
        return abs(math.log(lines * ratio / columns / SHAPE)) + extra

    for most in range(wanted, 0, -1):
        shapes = [
            (columns, total // columns)
            for total in range(most, min(count, wanted + 3) + 1)
            for columns in range(min(3, total), MOST_PER_LINE + 1)
            if total % columns == 0
        ]
        if shapes:
            return min(shapes, key=cost)
    return 1, 1


def _lay_out(found: AttentionMap, frames: int, *, top: float) -> _Layout:
    height, width = found.clip.size
    columns, lines = _full_lines(frames, frames, height / width)
    side = min((WIDTH - 2 * MARGIN) / columns, LARGEST, LARGEST * width / height)
    label = 0.36 if side < 1.7 else 0.22
    tall = side * height / width
    layout = _Layout(columns, lines, side, tall, label, top, height=0.0)
    return replace(layout, height=top + 2 * layout.grid + layout.between + 0.95)


def _name(found: AttentionMap, frame: int, layout: _Layout) -> str:
    between = "\n" if layout.label > 0.3 else " · "
    return f"frame {found.clip.indices[frame]}{between}{found.clip.seconds[frame]:.2f} s"


def _label(
    figure: "Figure", layout: _Layout, edge: tuple[float, float], text: str, *, below: bool
) -> None:
    """Words at the upper or lower edge of a frame, on a band that no arrow is seen on."""
    from matplotlib.patches import Rectangle

    x, y = edge[0] / WIDTH, edge[1] / layout.height
    wide, high = layout.side / WIDTH, (layout.label - below * GAP) / layout.height
    band = Rectangle((x, y - below * high), wide, high, facecolor="white", zorder=7)
    band.set(transform=figure.transFigure, gid="band")
    figure.add_artist(band)
    away = (-1 if below else 1) * GAP / layout.height
    where: dict[str, Any] = {"ha": "center", "va": "top" if below else "bottom", "linespacing": 1.0}
    middle = x + (layout.side - GAP) / 2 / WIDTH
    figure.text(middle, y + away, text, fontsize=WORDS, color=SOFT, zorder=8, **where)


def _wrapped(text: str, points: float, width: float) -> list[str]:
    """Lines of at most ``width`` inches; a word that is longer is broken."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer = RendererAgg(1, 1, 72)
    font = FontProperties(size=points, weight="bold" if points == TITLE else "normal")

    def fits(line: str) -> bool:
        return bool(renderer.get_text_width_height_descent(line, font, False)[0] <= 72 * width)

    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if fits(joined):
            lines[-1] = joined
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if not fits(lines[-1] + letter):
                lines.append("")
            lines[-1] += letter
    return lines


def _dimmed(found: AttentionMap) -> np.ndarray:
    """The frames, darker where the network does not see them."""
    pictures = found.clip.pictures.numpy()
    shade = np.where(seen_mask(found), 1.0, 0.45)[None, :, :, None]
    return (pictures * shade).astype(np.uint8)


def _picture(axes: "Axes", picture: np.ndarray, found: AttentionMap) -> None:
    height, width = found.clip.size
    axes.imshow(
        picture,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="antialiased",
        aspect="auto",
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _within(found: AttentionMap, place: Place) -> tuple[float, float]:
    """(x, y) of a place; of one in the filling around a whole picture, at the edge next to it."""
    height, width = found.clip.size
    return min(max(place.x, 0.0), width - 1.0), min(max(place.y, 0.0), height - 1.0)


def _arrows(
    figure: "Figure", panels: dict[int, "Axes"], found: AttentionMap, layout: _Layout
) -> None:
    from matplotlib.patches import ConnectionPatch

    origin = panels[_drawn_on(found, found.query)]
    start = _within(found, found.query)
    places = arrows_of(found)
    largest = max((abs(place.weight or 0.0) for place in places), default=1.0)
    for place in reversed(places):  # the strongest on top
        weight = (place.weight or 0.0) / largest
        share = abs(weight)
        rgb, _ = colours(np.array(weight))
        target = panels[_drawn_on(found, place)]
        end = _within(found, place)
        first, last = (
            axes.transData.transform(point) / figure.dpi
            for axes, point in ((origin, start), (target, end))
        )
        arrow = ConnectionPatch(
            xyA=start,
            xyB=end,
            coordsA=origin.transData,
            coordsB=target.transData,
            arrowstyle="-|>",
            mutation_scale=7 + 5 * share,
            connectionstyle=f"arc3,rad={_bend(first, last, layout):.4f}",
            linewidth=0.7 + 1.6 * share,
            color=tuple(rgb / 255),
            alpha=0.45 + 0.5 * share,
            shrinkA=2,
            shrinkB=0,
            zorder=5,
        )
        figure.add_artist(arrow)
    origin.plot(*start, "o", color="white", markeredgecolor="black", markersize=7, zorder=9)
    origin.plot(*start, "o", color="black", markersize=2.5, zorder=10)


def _bend(start: np.ndarray, end: np.ndarray, layout: _Layout) -> float:
    """How an arrow curves: towards the middle of its grid, so that it stays inside."""
    across = float(end[0] - start[0])
    middle = layout.height - layout.top - layout.grid / 2
    up = 1 if float(start[1] + end[1]) / 2 < middle else -1
    far = float(np.hypot(*(end - start)))
    size = min(0.12, 0.5 * layout.grid / far) if far > 0 else 0.12
    return -up * math.copysign(size, across)


def _words(found: AttentionMap) -> tuple[str, list[str]]:
    """Title and the lines below it."""
    names = ", ".join(f"{name} {percent(p)}" for name, p in found.classes[:2])
    title = f"{Path(found.path).name}: what {found.block} looks at"
    query, spread = found.query, found.spread
    truth = "" if found.truth is None else f" · true class: {found.truth}"
    lines = [
        f"{found.affinity.replace('_', ' ')} · this clip: {names}{truth}",
        f"query (dot): {query.seconds:.2f} s, y {query.y:.0f}, x {query.x:.0f}: {found.chosen}",
        f"entropy {spread.entropy:.2f} nats ({percent(spread.relative)} of even) · reach "
        f"{spread.pixels:.0f} px, {spread.seconds:.2f} s",
    ]
    if spread.kind:
        lines[-1] += f" · {KINDS[spread.kind]}"
    return title, lines


def _colour_bar(figure: "Figure", size: tuple[float, float], found: AttentionMap) -> None:
    """The scale of the heat maps, and what the weights are."""
    largest = float(found.weights.abs().max())
    lowest = -1.0 if found.signed else 0.0
    rgb, opacity = colours(np.linspace(lowest, 1, 256)[None])
    strip = (1 - opacity[..., None]) * 90 + opacity[..., None] * rgb
    axes = figure.add_axes((0.5 / size[0], 0.45 / size[1], 2.0 / size[0], 0.13 / size[1]))
    axes.imshow(
        strip.astype(np.uint8),
        aspect="auto",
        extent=(lowest * largest, largest or 1.0, 0, 1),
    )
    axes.set_yticks([])
    axes.set_xticks([lowest * largest, largest] if largest else [0])
    axes.set_xticklabels([f"{value:.3g}" for value in axes.get_xticks()])
    axes.tick_params(labelsize=WORDS, colors=SOFT, length=2)
    drawn, few = len(arrows_of(found)), len(_candidates(found))
    arrows = f"arrows: the {drawn} largest" if drawn == few != 1 else f"arrows: {drawn} of {few}"
    arrows = "arrow: the largest" if drawn == few == 1 else arrows
    text = f"{found.shown_as} · {arrows} of {int(found.reachable.sum())} keys in reach"
    for number, line in enumerate(_wrapped(text, WORDS, WIDTH - 3.1)):
        place = 2.9 / size[0], (0.46 - 0.18 * number) / size[1]
        figure.text(*place, line, fontsize=WORDS, color=SOFT)
