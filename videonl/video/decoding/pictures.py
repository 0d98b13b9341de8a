"""From decoded frames to RGB arrays: scaling, colour, rotation, one size for a whole read."""

import struct
from typing import Any, TypedDict, Unpack

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from videonl.errors import VideoError
from videonl.video.decoding.container import MAX_PIXELS

# What else decides on the pixels of a frame: the libraries that decode and scale.
MADE_BY = {"av": av.__version__, **{k: list(v) for k, v in av.library_versions.items()}}


class Scaling(TypedDict, total=False):
    """The size of pictures for ``Video.read``; without an entry they keep their stored size.

    Attributes:
        short_side: pixels of the shorter side; the longer side is rounded.
        inside: (height, width) of a box; pictures are as large as fits into it. Not together with
            ``short_side``.
        rounding: of the other side, "nearest" or "down".
        enlarge: whether pictures smaller than that are scaled up.
    """

    short_side: int | None
    inside: tuple[int, int] | None
    rounding: str
    enlarge: bool


def size_of(height: int, width: int, **scale: Unpack[Scaling]) -> tuple[int, int]:
    """(height, width) of a picture that is scaled; see :meth:`videonl.video.video.Video.read`."""
    if inside := scale.get("inside"):
        decides = width * inside[0] <= height * inside[1]  # the height
        side, wanted = (height, inside[0]) if decides else (width, inside[1])
    elif short_side := scale.get("short_side"):
        side, wanted = min(height, width), short_side
    else:
        return height, width
    if side < wanted and not scale.get("enlarge", True):
        return height, width
    more = side // 2 if scale.get("rounding", "nearest") == "nearest" else 0
    return max(1, (height * wanted + more) // side), max(1, (width * wanted + more) // side)


class Pictures:
    """Turns decoded frames into uint8 RGB arrays; keeps the scalers between frames.

    A stream may change its size on the way: every frame of a read is scaled to the size of the
    stream's first frame seen.

    Frames are scaled in their stored colour format and then converted as unscaled ones are. FFmpeg
    would use another converter for both at once, which is slower and up to one of 255 darker.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._scaler = VideoReformatter()
        self._converter = VideoReformatter()
        self._splitter = VideoReformatter()
        self._base: tuple[int, int] | None = None  # (height, width) before rotation
        self.rotation = 0  # of the last frame, counter-clockwise degrees
        self.trait: str | None = None  # of the last frame: why only PyAV reads it exactly

    def scaled(self, height: int, width: int, scale: Scaling) -> tuple[int, int]:
        """(height, width) of a picture that is scaled.

        Raises:
            VideoError: the longer side would be too large.
        """
        size = size_of(height, width, **scale)
        if size[0] * size[1] > MAX_PIXELS:
            raise VideoError(
                f"{self.name}: {width}x{height} is too long and thin to scale its short side to "
                f"{scale.get('inside') or scale.get('short_side')}; crop the video first"
            )
        return size

    def array(self, frame: Any, scale: Scaling) -> np.ndarray:
        """uint8 (H, W, 3), RGB, rotated upright.

        Raises:
            VideoError: the frame is damaged or its pixels cannot be converted.
        """
        if self._base is None:
            self._base = (frame.height, frame.width)
        if (inside := scale.get("inside")) and (place := orientation(frame)) and place[0]:
            scale = scale | {"inside": inside[::-1]}  # the picture is turned after it was scaled
        height, width = self.scaled(*self._base, scale)
        try:
            if (frame.height, frame.width) != (height, width) and _shares_colours(frame.format):
                scaled = _even(self._scaler.reformat(frame, width, height, threads=1))
                rgb = self._converter.reformat(scaled, format="rgb24", threads=1)
            else:
                rgb = self._converter.reformat(frame, width, height, "rgb24", threads=1)
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(
                f"{self.name}: cannot convert {frame.format.name} frames ({error})"
            ) from error
        self.rotation = frame.rotation
        self.trait = _trait(frame)
        return upright(_view(rgb)[:height, :width], frame)

    def rescaled(self, frames: np.ndarray, scale: Scaling) -> np.ndarray:
        """Scale upright RGB frames (T, H, W, 3) as :meth:`array` does."""
        height, width = self.scaled(frames.shape[1], frames.shape[2], scale)
        if (height, width) == frames.shape[1:3]:
            return frames
        result = np.empty((len(frames), height, width, 3), np.uint8)
        for target, frame in zip(result, frames, strict=True):
            # In planes: FFmpeg takes packed colours three times as slowly.
            planes = self._splitter.reformat(
                av.VideoFrame.from_ndarray(frame, "rgb24"), format="gbrp", threads=1
            )
            scaled = self._scaler.reformat(planes, width, height, threads=1)
            target[...] = _view(self._converter.reformat(scaled, format="rgb24", threads=1))
        return result


class Stack:
    """Frames of one read, each copied once, into its place."""

    def __init__(self, pictures: Pictures, count: int, scale: Scaling) -> None:
        self.pictures = pictures
        self.count = count
        self.scale = scale
        self._frames: np.ndarray | None = None

    def put(self, place: int, frame: Any) -> None:
        """Convert a decoded frame to be number ``place`` of the result."""
        picture = self.pictures.array(frame, self.scale)
        if self._frames is None:
            self._frames = np.empty((self.count, *picture.shape), np.uint8)
        self._frames[place] = picture

    def array(self) -> np.ndarray:
        """uint8 (T, H, W, 3)."""
        assert self._frames is not None
        return self._frames


def plane_rows(plane: Any) -> np.ndarray:
    """uint8 (rows, bytes), the memory of a plane; each row may end with padding bytes."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height]


def _view(rgb: Any) -> np.ndarray:
    """The pixels of an rgb24 frame, (H, W, 3), without a copy."""
    rows = plane_rows(rgb.planes[0])
    return rows[:, : rgb.width * 3].reshape(rgb.height, rgb.width, 3)


def _shares_colours(pixels: Any) -> bool:
    """Whether neighbouring pixels share a colour, as in 4:2:0, which has separate planes."""
    return pixels.is_planar and pixels.chroma_width(4) < 4


def _even(frame: Any) -> Any:
    """The same frame with one more row or column of undefined content where they are odd.

    FFmpeg converts the colours of pictures of odd height or width by another, slower method.
    """
    height, width = frame.height + frame.height % 2, frame.width + frame.width % 2
    if (height, width) == (frame.height, frame.width):
        return frame
    even = av.VideoFrame(width, height, frame.format.name)
    even.colorspace, even.color_range = frame.colorspace, frame.color_range
    for source, target in zip(frame.planes, even.planes, strict=True):
        from_rows, to_rows = plane_rows(source), plane_rows(target)
        across = min(from_rows.shape[1], to_rows.shape[1])
        to_rows[: len(from_rows), :across] = from_rows[:, :across]
    return even


def orientation(frame: Any) -> tuple[bool, bool, bool] | None:
    """(swap axes, then reverse columns, reverse rows) to turn a frame upright.

    None where nothing is to be done. Angles that are not multiples of 90 degrees are ignored.
    """
    side = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", bytes(side))  # a point (x, y): (ax + cy, bx + dy)
    if b == c == 0:
        found = False, a < 0, d < 0
    elif a == d == 0:
        found = True, c < 0, b < 0
    else:
        return None
    return found if any(found) else None


def _trait(frame: Any) -> str | None:
    if frame.interlaced_frame:
        return "interlaced frames"
    if frame.rotation % 90:
        return f"turned by {-frame.rotation} degrees"
    place = orientation(frame)
    return "a mirrored picture" if place is not None and sum(place) % 2 else None


def upright(picture: np.ndarray, frame: Any) -> np.ndarray:
    """Turn and mirror a picture (H, W, ...) as the file asks for.

    The result is a view.
    """
    place = orientation(frame)
    if place is None:
        return picture
    exchanged, columns, rows = place
    if exchanged:
        picture = picture.swapaxes(0, 1)
    return picture[:: -1 if rows else 1, :: -1 if columns else 1]
