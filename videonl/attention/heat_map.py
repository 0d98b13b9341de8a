"""The weights as colours over the frames of the clip: pictures, MP4 and GIF.

The colour runs with weight / largest |weight|: from dark red to yellow for positive weights, in
blues for negative ones; its opacity is the square root of that, so that zero is clear. Between the
middles of the keys it is interpolated. What the network does not see (outside of the crop) is
dimmed.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videonl.attention.map import AttentionMap
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
    keys = offset + stride * np.arange(count)
    return np.stack([np.interp(points, keys, key) for key in np.eye(count)], axis=1)


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
    if 1 in pictures.shape[1:3]:  # H.264 has even sizes
        pictures = np.pad(pictures, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
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
