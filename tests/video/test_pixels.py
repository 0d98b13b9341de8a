"""Pixels: what a file's tags say about its colours is followed, and scaling shifts nothing.

The truth is made here: the planes of a full decode, converted in float with the matrices of the
standards, and scaled in float.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from av.video.reformatter import Interpolation

from tests.videos import write_video
from videonl.video import Recipe, encode_file, open_video

BT709, BT601, BT2020, LIMITED, FULL = 1, 6, 9, 1, 2  # as ITU-T H.273 counts them
WEIGHTS = {BT709: (0.2126, 0.0722), BT601: (0.299, 0.114), BT2020: (0.2627, 0.0593)}
EXACT = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND


@dataclass(frozen=True)
class Kind:
    """A file whose tags say how its numbers are colours."""

    name: str
    pixels: str = "yuv420p"
    space: int = BT709
    range: int = LIMITED
    size: tuple[int, int] = (180, 320)  # (height, width)
    codec: str = "libx264"


KINDS = [
    Kind("709"),
    Kind("601", space=BT601),
    Kind("709_full", range=FULL),
    Kind("601_full_portrait", space=BT601, range=FULL, size=(320, 180)),
    Kind("709_422", pixels="yuv422p"),
    Kind("601_444", pixels="yuv444p", space=BT601),
    Kind("709_10_bit", pixels="yuv420p10le"),
    Kind("601_10_bit_full", pixels="yuv420p10le", space=BT601, range=FULL),
    Kind("2020_10_bit", pixels="yuv420p10le", space=BT2020),
    Kind("mjpeg_full", pixels="yuvj420p", space=BT601, range=FULL, codec="mjpeg"),
]


def pictures(height: int, width: int) -> np.ndarray:
    """Three pictures as cameras see them: fine light and dark, coarse colours; uint8 RGB."""
    generator = torch.Generator().manual_seed(0)
    fine, coarse = (
        F.interpolate(torch.rand(3, *size, generator=generator), (height, width), mode="bicubic")
        for size in ((1, height // 4, width // 4), (3, 5, 7))
    )
    found = (30 + 150 * coarse.clamp(0, 1) + 45 * fine).clamp(0, 255)
    return found.permute(0, 2, 3, 1).to(torch.uint8).numpy()


def write(kind: Kind, folder: Path) -> Path:
    path = folder / f"{kind.name}.{'mov' if kind.codec == 'mjpeg' else 'mp4'}"
    height, width = kind.size
    space = {BT709: 1, BT601: 5, BT2020: 9}[kind.space]  # as libswscale counts them
    with av.open(str(path), "w") as container:
        options = {"qscale": "2"} if kind.codec == "mjpeg" else {"crf": "12"}
        stream = container.add_stream(kind.codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, kind.pixels
        context: Any = stream.codec_context
        context.colorspace, context.color_range = kind.space, kind.range
        for array in pictures(height, width):
            frame = av.VideoFrame.from_ndarray(array, "rgb24").reformat(
                format=kind.pixels,
                dst_colorspace=space,
                dst_color_range=kind.range,
                interpolation=EXACT,
            )
            frame.colorspace, frame.color_range = kind.space, kind.range
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def scaled(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(T, H, W, 3) in float by a bilinear filter that is as wide as a pixel of the result."""
    planes = torch.from_numpy(frames).permute(0, 3, 1, 2)
    result = F.interpolate(planes, size, mode="bilinear", antialias=True)
    return result.permute(0, 2, 3, 1).numpy()


def full_decode(path: Path, kind: Kind) -> np.ndarray:
    """float64 (T, H, W, 3), 0 to 255: planes of every frame, then equations 3 of BT.601 and 709."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            deep = frame.format.components[0].bits - 8
            planes = []
            for plane in frame.planes:
                numbers = np.frombuffer(memoryview(plane), np.uint16 if deep else np.uint8)
                numbers = numbers.reshape(plane.height, -1)[:, : plane.width]
                values = torch.from_numpy(numbers.astype(np.float64) / 2**deep)[None, None]
                values = F.interpolate(values, kind.size, mode="bilinear")
                planes.append(values[0, 0].numpy())
            light, blue, red = planes
            black, light_range, colour_range = (
                (0, 255, 255) if kind.range == FULL else (16, 219, 224)
            )
            light = (light - black) * 255 / light_range
            blue, red = ((p - 128) * 255 / colour_range for p in (blue, red))
            of_red, of_blue = WEIGHTS[kind.space]
            r = light + 2 * (1 - of_red) * red
            b = light + 2 * (1 - of_blue) * blue
            g = (light - of_red * r - of_blue * b) / (1 - of_red - of_blue)
            found.append(np.clip(np.stack([r, g, b], -1), 0, 255))
    return np.stack(found)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_colours_follow_their_tags_and_scaling_does_not_shift_them(
    kind: Kind, tmp_path: Path
) -> None:
    path = write(kind, tmp_path)
    truth = full_decode(path, kind)
    with open_video(path) as video:
        whole = video.read(range(3)).numpy()
        # FFmpeg's converters cut their products: up to 2 of 255 below the float decode.
        assert np.abs(whole - truth).mean() < 2.5
        assert -2.2 < (whole - truth).mean() < 0.6
        for side in (128, 101, 256):  # even and odd, smaller and larger
            found = video.read(range(3), short_side=side).numpy()
            assert min(found.shape[1:3]) == side
            difference = found - scaled(whole.astype(np.float64), found.shape[1:3])
            assert abs(difference.mean()) < 0.25, side
            # Colours are as coarse in the scaled picture as they were in the coded one.
            assert np.abs(difference).mean() < (2.4 if side % 2 else 1.4), side
            assert np.abs(found - scaled(truth, found.shape[1:3])).mean() < 2.5


def test_another_matrix_or_range_would_be_seen(tmp_path: Path) -> None:
    path = write(KINDS[0], tmp_path)
    right = full_decode(path, KINDS[0])
    for wrong in (Kind("", space=BT601), Kind("", range=FULL)):
        assert np.abs(full_decode(path, wrong) - right).mean() > 1.2


@pytest.mark.parametrize("rotation", [0, 90])
def test_every_reader_scales_alike(rotation: int, tmp_path: Path) -> None:
    """decord; the packets of an MP4; from the start, in a transport stream."""
    pytest.importorskip("decord")
    frames = pictures(192, 320)[[0, 1, 2] * 8]
    path = write_video(tmp_path / "a.mp4", frames, rotation=rotation, options={"crf": "12"})
    read = []
    for decoder in ("pyav", "decord"):
        with open_video(path, decoder=decoder) as video:
            read.append(video.read(range(24), short_side=101).numpy().astype(int))
    difference = read[0] - read[1]
    assert abs(difference.mean()) < 0.25
    assert np.abs(difference).mean() < 2.4
    if not rotation:
        other = write_video(tmp_path / "a.ts", frames, options={"crf": "12"})
        with open_video(other) as video:
            assert video.exact_by == "sequential"
            np.testing.assert_array_equal(video.read(range(24), short_side=101), read[0])


def test_prepared_files_keep_the_colours_of_turned_ones(tmp_path: Path) -> None:
    frames, options = pictures(180, 320), {"crf": "4"}
    path = write_video(tmp_path / "a.mp4", frames, rotation=90, options=options)
    encode_file(path, tmp_path / "fast.mp4", Recipe(short_side=180, quality=4))
    read = []
    for name in ("a.mp4", "fast.mp4"):
        with open_video(tmp_path / name) as video:
            read.append(video.read(range(3)).numpy().astype(int))
    difference = read[1] - read[0]
    assert read[0].shape == (3, 320, 180, 3)
    assert abs(difference.mean()) < 0.1
    assert np.abs(difference).mean() < 1
