"""Draw a scene of the sample data set and encode it as H.264 in an MP4 file."""

import math
from pathlib import Path

import av
import numpy as np

from videonl.files import whole_file
from videonl.sample.task import FPS, Body, SampleParameters, Scene

_PAD = 4  # pixels around the picture, so that a body at the border needs no clipping
_NOISE = 3.0  # standard deviation of the noise of a frame, in steps of luma
_OCTAVES = ((4, 9.0), (8, 5.0), (16, 3.0), (32, 2.0))  # cells across, amplitude in steps of luma


def _cover(shape: str, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """How much of each pixel the shape covers, 0 to 1 (anti-aliased by its signed distance)."""
    if shape == "disc":
        outside = np.hypot(x, y) - radius
    elif shape == "square":
        outside = np.maximum(abs(x), abs(y)) - 0.85 * radius
    else:  # diamond
        outside = (abs(x) + abs(y) - 1.2 * radius) / math.sqrt(2)
    return np.clip(0.5 - outside, 0, 1)


def _paint(planes: np.ndarray, body: Body, scale: float, colour: tuple[int, ...]) -> None:
    """Draw a body into its frames, float (T, H, W, channels), sub-pixel exact, in place."""
    centres = body.track(len(planes)) * scale + _PAD - 0.5 * (1 - scale)
    radius = body.radius * scale
    reach = math.ceil(radius) + 1
    corners = np.round(centres).astype(int) - reach  # (T, 2)
    steps = np.arange(2 * reach + 1)
    x = (corners[:, :1] + steps - centres[:, :1])[:, None, :]  # (T, 1, P)
    y = (corners[:, 1:] + steps - centres[:, 1:])[:, :, None]  # (T, P, 1)
    cover = _cover(body.shape, x, y, radius)[..., None].astype(np.float32)
    wanted = np.array(colour, np.float32)
    for frame, alpha, (left, top) in zip(planes, cover, corners, strict=True):
        window = frame[top : top + len(steps), left : left + len(steps)]
        window += alpha * (wanted - window)


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """A smooth random field, float (size, size): bilinear noise of several cell sizes."""
    field = np.zeros((size, size), np.float32)
    for cells, amplitude in _OCTAVES:
        places = np.linspace(0, cells, size, endpoint=False)
        left = places.astype(int)
        blend = np.zeros((size, cells + 1), np.float32)
        blend[np.arange(size), left] = 1 - (places - left)
        blend[np.arange(size), left + 1] = places - left
        grid = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
        field += amplitude * (blend @ grid @ blend.T)
    return field


def _noise(rng: np.random.Generator, frames: int, size: int) -> np.ndarray:
    """Noise of the camera, float (frames, size, size): random windows of one large sheet."""
    sheet = _NOISE * rng.standard_normal((2 * size, 2 * size), dtype=np.float32)
    tops, lefts = rng.integers(size, size=(2, frames))
    return np.stack([sheet[y : y + size, x : x + size] for y, x in zip(tops, lefts, strict=True)])


def render_scene(scene: Scene, *, parameters: SampleParameters) -> np.ndarray:
    """Draw a scene: uint8 (frames, 3/2 size, size), planes Y, Cb, Cr of yuv420p stacked."""
    size, frames = parameters.size, parameters.frames
    rng = np.random.default_rng(scene.texture_seed)
    half = size // 2
    luma = np.empty((frames, size + 2 * _PAD, size + 2 * _PAD, 1), np.float32)
    chroma = np.empty((frames, half + 2 * _PAD, half + 2 * _PAD, 2), np.float32)
    luma[...] = np.pad(rng.uniform(60, 100) + _texture(rng, size), _PAD, mode="edge")[..., None]
    tints = [rng.uniform(120, 136) + 0.2 * _texture(rng, half) for _ in range(2)]
    chroma[...] = np.stack([np.pad(tint, _PAD, mode="edge") for tint in tints], axis=-1)
    for body, shown in zip(scene.bodies, parameters.shown, strict=True):
        _paint(luma[shown], body, 1.0, (body.luma,))
        _paint(chroma[shown], body, 0.5, (body.blue, body.red))
    inside = slice(_PAD, -_PAD)
    picture = luma[:, inside, inside, 0]
    picture = picture + _noise(rng, frames, size)
    planes = np.empty((frames, size + half, size), np.uint8)
    planes[:, :size] = np.clip(picture, 16, 235)
    colours = np.clip(chroma[:, inside, inside], 16, 240).astype(np.uint8)
    planes[:, size:] = colours.transpose(0, 3, 1, 2).reshape(frames, half, size)
    return planes


def encode_scene(scene: Scene, path: Path, *, parameters: SampleParameters) -> None:
    """Draw a scene and write it as H.264 MP4; the file appears only when it is complete."""
    planes = render_scene(scene, parameters=parameters)
    options = {"preset": "superfast", "crf": "29", "threads": "1"}
    with whole_file(path) as part, av.open(f"file:{part}", "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width = stream.height = parameters.size
        stream.pix_fmt = "yuv420p"
        for number, array in enumerate(planes):
            frame = av.VideoFrame.from_ndarray(array, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
