"""From decoded frames to RGB arrays: scaling, colour, rotation, one target size for a whole read."""

from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from videonl.data.container import MAX_PIXELS
from videonl.errors import VideoError


class Pictures:
    """Turns decoded frames into uint8 RGB arrays; keeps the scaler between frames.

    A stream may change its size on the way: every frame of a read is scaled to the size of the
    stream's first frame seen.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._reformatter = VideoReformatter()
        self._base: tuple[int, int] | None = None  # (height, width) before rotation

    def scaled(self, height: int, width: int, short_side: int | None) -> tuple[int, int]:
        """(height, width) whose shorter side is ``short_side``.

        Raises:
            VideoError: the longer side would be beyond all measure.
        """
        if short_side is None:
            return height, width
        short = min(height, width)
        size = (
            max(1, (height * short_side + short // 2) // short),
            max(1, (width * short_side + short // 2) // short),
        )
        if size[0] * size[1] > MAX_PIXELS:
            raise VideoError(
                f"{self.name}: {width}x{height} is too long and thin to scale its short side to "
                f"{short_side}"
            )
        return size

    def array(self, frame: Any, short_side: int | None) -> np.ndarray:
        """uint8 (H, W, 3), RGB, rotated upright.

        Raises:
            VideoError: the frame is damaged or its pixels can not be converted.
        """
        if self._base is None:
            self._base = (frame.height, frame.width)
        height, width = self.scaled(*self._base, short_side)
        try:
            rgb = self._reformatter.reformat(frame, width, height, "rgb24")
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(
                f"{self.name}: can not convert {frame.format.name} frames ({error})"
            ) from error
        plane = rgb.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        picture = rows[:height, : width * 3].reshape(height, width, 3)
        return upright(picture, frame)


def upright(picture: np.ndarray, frame: Any) -> np.ndarray:
    """Apply the rotation that the file asks for, in steps of 90 degrees; other angles are ignored."""
    angle = frame.rotation  # counter-clockwise degrees
    if angle % 90:
        return picture.copy()
    return np.ascontiguousarray(np.rot90(picture, angle // 90 % 4))
