"""The picture of the paper's Figure 3: frames, the query, arrows to what it looks at most.

The weights as colours over the frames of the clip: pictures, MP4 and GIF.

The colour runs with weight / largest |weight|: from dark red to yellow for positive weights, in
blues for negative ones; its opacity is the square root of that, so that zero is clear. Between the
middles of the keys it is interpolated. What the network does not see (outside of the crop) is
dimmed.
"""

import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from videonl.attention.map import AttentionMap, Place
from videonl.escapes import figure_text
from videonl.files import whole_stream

STRONGEST_OPACITY = 0.85
DIMMED = 0.35
WARM = np.array([[150, 20, 60], [235, 80, 20], [255, 225, 70]], np.float64)  # 0, 1/2, 1
COLD = np.array([[40, 40, 150], [40, 110, 230], [90, 220, 255]], np.float64)


def heat(found: AttentionMap) -> np.ndarray:
    """Weight / largest |weight| at every pixel of ``clip.pictures``: float64 (T, h, w), -1 to 1.

    Each frame shows the keys nearest to it in time.
    """
    weights = found.weights.double().numpy()
    largest = float(np.abs(weights).max())
    weights = weights / largest if largest > 0 else weights
    keys, clip = found.keys, found.clip
    frames, height, width = clip.pictures.shape[:3]
    rows = [clip.to_view((r + 0.5) * clip.size[0] / height - 0.5, 0)[0] for r in range(height)]
    columns = [clip.to_view(0, (c + 0.5) * clip.size[1] / width - 0.5)[1] for c in range(width)]
    down = _between(rows, offset=keys.offset[1], stride=keys.stride[1], count=keys.shape[1])
    across = _between(columns, offset=keys.offset[2], stride=keys.stride[2], count=keys.shape[2])
    each = [down @ weights[keys.nearest((t, 0, 0))[0]] @ across.T for t in range(frames)]
    return np.stack(each)


def _between(points: list[float], *, offset: float, stride: float, count: int) -> np.ndarray:
    """Linear interpolation as a matrix (points, count); constant beyond the first and last key."""
    place = np.clip((np.array(points) - offset) / stride, 0, count - 1)
    early = np.minimum(place.astype(int), max(count - 2, 0))
    matrix = np.zeros((len(points), count))
    lines = np.arange(len(points))
    matrix[lines, early] = 1 - (place - early)
    if count > 1:
        matrix[lines, early + 1] = place - early
    return matrix


def colours(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values from -1 to 1 as (RGB of 0 to 255, opacity of 0 to 1)."""
    size = np.abs(values).clip(0, 1)
    ramps = [
        np.stack([np.interp(size, (0, 0.5, 1), ramp[:, c]) for c in range(3)], axis=-1)
        for ramp in (WARM, COLD)
    ]
    rgb = np.where((values >= 0)[..., None], ramps[0], ramps[1])
    return rgb, STRONGEST_OPACITY * np.sqrt(size)


def overlay(found: AttentionMap, *, mark_query: bool = True) -> np.ndarray:
    """The frames of the clip under their weights, uint8 (T, h, w, 3), like ``clip.pictures``.

    Args:
        found: of ``attend``.
        mark_query: draw a white square around the query, in the frames that are nearest to it.
    """
    pictures = found.clip.pictures.numpy().astype(np.float64)
    grey = pictures.mean(-1, keepdims=True)
    rgb, opacity = colours(heat(found))
    inside = seen_mask(found)[None, :, :, None]
    base = np.where(inside, 0.5 * pictures + 0.5 * grey, DIMMED * grey)
    opacity = np.where(inside, opacity[..., None], 0)
    blended = (1 - opacity) * base + opacity * rgb
    result = blended.round().clip(0, 255).astype(np.uint8)
    if mark_query:
        times = np.abs(np.arange(len(result)) - found.query.time)
        for t in np.flatnonzero(times <= times.min() + 1e-6):
            _mark(result[t], found)
    return result


def seen_mask(found: AttentionMap) -> np.ndarray:
    """Which pixels of ``clip.pictures`` the network sees: bool (h, w)."""
    height, width = found.clip.pictures.shape[1:3]
    top, left, bottom, right = found.clip.region
    rows = (np.arange(height) + 0.5) * found.clip.size[0] / height
    columns = (np.arange(width) + 0.5) * found.clip.size[1] / width
    return ((rows > top) & (rows < bottom))[:, None] & ((columns > left) & (columns < right))


def _mark(picture: np.ndarray, found: AttentionMap) -> None:
    """A white square with a black edge around the query."""
    height, width = picture.shape[:2]
    y = round((found.query.y + 0.5) * height / found.clip.size[0] - 0.5)
    x = round((found.query.x + 0.5) * width / found.clip.size[1] - 0.5)
    half = max(3, min(height, width) // 40)
    rows, columns = np.mgrid[:height, :width]
    away = np.maximum(np.abs(rows - y), np.abs(columns - x))
    picture[(away >= half - 1) & (away <= half + 2)] = 0
    picture[(away >= half) & (away <= half + 1)] = 255


def frame_rate(found: AttentionMap) -> Fraction:
    """Frames per second at which the clip plays in its own time, between 1 and 30."""
    gaps = np.diff(found.clip.seconds)
    gap = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 0.25
    return Fraction(min(30.0, max(1.0, 1 / gap))).limit_denominator(1000)


def write_mp4(found: AttentionMap, path: str | Path) -> None:
    """Write the overlay as H.264, in the clip's own time; the file appears when it is whole."""
    import av

    pictures = overlay(found)
    height, width = pictures.shape[1] // 2 * 2, pictures.shape[2] // 2 * 2
    with whole_stream(path) as file, av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=frame_rate(found))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "18"}
        for number, picture in enumerate(pictures):
            even = np.ascontiguousarray(picture[:height, :width])
            frame = av.VideoFrame.from_ndarray(even, "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_gif(found: AttentionMap, path: str | Path) -> None:
    """Write the overlay as an endless GIF; the file appears when it is whole."""
    from PIL import Image

    images = [Image.fromarray(picture) for picture in overlay(found)]
    with whole_stream(path) as stream:
        images[0].save(
            stream,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=round(1000 / frame_rate(found)),
            loop=0,
        )


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRAMES = 8  # drawn at least, if the clip has them; more where arrows lead to more
PER_LINE = 8
FAINTEST = 0.02  # arrows to weights below this share of the largest are left out
INK, SOFT = "#1c2530", "#5b6673"


def draw_figure(found: AttentionMap) -> "Figure":
    """The figure: lines of frames with the arrows, each with its heat map below."""
    title, lines = _words(found)
    with figure_text([title, *lines]) as drawable:
        return _draw(found, drawable(title), list(map(drawable, lines)))


def _draw(found: AttentionMap, title: str, words: list[str]) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    frames = frames_to_draw(found)
    columns = min(len(frames), PER_LINE)
    lines = math.ceil(len(frames) / columns)
    height, width = found.clip.size
    side = 15.0 / PER_LINE  # inches
    tall = side * height / width
    block = 2 * tall + 0.34
    size = (max(columns * side, 7.6) + 0.3, lines * block + 1.55)
    figure = Figure(figsize=size, facecolor="white")
    FigureCanvasAgg(figure)
    margin = (size[0] - columns * side) / 2
    lit = overlay(found)
    plain = _dimmed(found)
    panels: dict[int, Axes] = {}
    for number, frame in enumerate(frames):
        line, column = divmod(number, columns)
        left = (margin + column * side) / size[0]
        for row, pictures in enumerate((plain, lit)):
            bottom = (size[1] - 0.95 - line * block - (row + 1) * tall - 0.2) / size[1]
            axes = figure.add_axes((left, bottom, 0.985 * side / size[0], 0.97 * tall / size[1]))
            _picture(axes, pictures[frame], found)
            if row == 0:
                panels[frame] = axes
                label = f"frame {found.clip.indices[frame]} · {found.clip.seconds[frame]:.2f} s"
                axes.set_title(label, fontsize=8, color=SOFT, pad=3)
    _arrows(figure, panels, found)
    _write(figure, size, title, words)
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
    """The strongest places whose weight is not vanishing beside the largest."""
    largest = max((abs(place.weight or 0.0) for place in found.strongest), default=0.0)
    return [p for p in found.strongest if abs(p.weight or 0.0) >= FAINTEST * largest]


def frames_to_draw(found: AttentionMap) -> list[int]:
    """Frames of the clip: those of the query and of the arrows, filled up evenly to ``FRAMES``."""
    count = len(found.clip.indices)
    wanted = {clip_frame(place) for place in (found.query, *arrows_of(found))}
    wanted = {min(frame, count - 1) for frame in wanted}
    for frame in np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int).tolist():
        if len(wanted) < FRAMES:
            wanted.add(frame)
    return sorted(wanted)


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


def _arrows(figure: "Figure", panels: dict[int, "Axes"], found: AttentionMap) -> None:
    from matplotlib.patches import ConnectionPatch

    last = len(found.clip.indices) - 1
    origin = panels[min(clip_frame(found.query), last)]
    start = _within(found, found.query)
    places = arrows_of(found)
    largest = max((abs(place.weight or 0.0) for place in places), default=1.0)
    for place in reversed(places):  # the strongest on top
        weight = place.weight or 0.0
        share = abs(weight) / largest
        ramp = WARM if weight >= 0 else COLD
        colour = tuple(
            np.array([np.interp(share, (0, 0.5, 1), ramp[:, c]) for c in range(3)]) / 255
        )
        target = panels[min(clip_frame(place), last)]
        arrow = ConnectionPatch(
            xyA=start,
            xyB=_within(found, place),
            coordsA=origin.transData,
            coordsB=target.transData,
            arrowstyle="-|>",
            mutation_scale=7 + 5 * share,
            connectionstyle="arc3,rad=-0.12",
            linewidth=0.7 + 1.6 * share,
            color=colour,
            alpha=0.45 + 0.5 * share,
            shrinkA=2,
            shrinkB=0,
            zorder=5,
        )
        figure.add_artist(arrow)
    origin.plot(*start, "o", color="white", markeredgecolor="black", markersize=7, zorder=9)
    origin.plot(*start, "o", color="black", markersize=2.5, zorder=10)


def _words(found: AttentionMap) -> tuple[str, list[str]]:
    """Title and the lines below it."""
    names = ", ".join(f"{name} {100 * p:.0f} %" for name, p in found.classes[:2])
    title = f"{Path(found.path).name}: what {found.block} looks at"
    query, spread = found.query, found.spread
    lines = [
        f"{found.affinity.replace('_', ' ')} · this clip: {names}",
        f"query (dot): {query.seconds:.2f} s, y {query.y:.0f}, x {query.x:.0f}, "
        f"{found.chosen} · entropy {spread.entropy:.2f} nats ({100 * spread.relative:.0f} % of "
        f"even) · reach {spread.pixels:.0f} px, {spread.seconds:.2f} s",
    ]
    return title, lines


def _write(figure: "Figure", size: tuple[float, float], title: str, lines: list[str]) -> None:
    left, top = 0.17 / size[0], 1 - 0.3 / size[1]
    figure.text(left, top, title, fontsize=12, color=INK, fontweight="bold")
    for number, line in enumerate(lines):
        top = 1 - (0.54 + 0.2 * number) / size[1]
        figure.text(left, top, line, fontsize=8.5, color=SOFT)


def _colour_bar(figure: "Figure", size: tuple[float, float], found: AttentionMap) -> None:
    """The scale of the heat maps, and what the weights are."""
    largest = float(found.weights.abs().max())
    lowest = -1.0 if found.signed else 0.0
    rgb, opacity = colours(np.linspace(lowest, 1, 256)[None])
    strip = (1 - opacity[..., None]) * 90 + opacity[..., None] * rgb
    axes = figure.add_axes((0.17 / size[0], 0.3 / size[1], 2.2 / size[0], 0.11 / size[1]))
    axes.imshow(
        strip.astype(np.uint8),
        aspect="auto",
        extent=(lowest * largest, largest or 1.0, 0, 1),
    )
    axes.set_yticks([])
    axes.set_xticks([lowest * largest, largest] if largest else [0])
    axes.set_xticklabels([f"{value:.3g}" for value in axes.get_xticks()])
    axes.tick_params(labelsize=8, colors=SOFT, length=2)
    count = len(arrows_of(found))
    drawn = f"arrows: the {count} largest" if count != 1 else "arrow: the largest"
    figure.text(
        2.6 / size[0],
        0.32 / size[1],
        f"{found.shown_as} · {drawn} of {int(found.reachable.sum())} keys in reach",
        fontsize=8.5,
        color=SOFT,
    )
