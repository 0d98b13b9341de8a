"""Exact access by decoding from the start, for files whose packets do not tell their frames."""

from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from videonl.errors import VideoError
from videonl.video.container import Source, open_source, reason
from videonl.video.pictures import Pictures, Scale, Stack

# Decoded frames are kept (in their own pixel format) up to this size, so that counting and reading
# cost one decode together. A 7-second clip of 320x240 takes 19 MB.
KEEP_BYTES = 96 << 20


class SequentialDecoder:
    """Counts the frames of a file by decoding it once, and reads them.

    Attributes:
        pts: int64 (frames,) increasing presentation times in stream ticks, or None.
        held: ticks for which the last frame says it stands, 0 where it does not.
        damage: None, or why decoding stopped before the end of the file.
    """

    def __init__(self, source: Source, pictures: Pictures) -> None:
        self.source = source
        self.pictures = pictures
        self.damage: str | None = None
        self._kept: list[Any] | None = []
        times: list[int | None] = []
        self.held = 0
        size = 0
        for frame in self._frames():
            times.append(frame.pts)
            self.held = int(frame.duration or 0)
            if self._kept is not None:
                size += sum(plane.buffer_size for plane in frame.planes)
                self._kept.append(frame)
                if size > KEEP_BYTES:
                    self._kept = None
        self._count = len(times)
        self.pts: np.ndarray | None = None
        if times and all(time is not None for time in times):
            pts = np.array(times, np.int64)
            if (np.diff(pts) > 0).all():
                self.pts = pts

    def __len__(self) -> int:
        return self._count

    def _frames(self) -> Iterator[Any]:
        """All frames from the start; notes damage and ends there."""
        path = self.source.path
        threads = self.source.stream.codec_context.thread_count
        fresh = open_source(path, threads=threads)  # a seek to the start is not exact everywhere
        try:
            yield from fresh.container.decode(fresh.stream)
        except (av.FFmpegError, OSError) as error:
            self.damage = f"decoding stops there ({reason(error)})"
        finally:
            fresh.close()

    def read(self, wanted: list[int], scale: Scale) -> np.ndarray:
        """Frames ``wanted`` (sorted, unique) as uint8 (T, H, W, 3)."""
        stack = Stack(self.pictures, len(wanted), scale)
        if self._kept is not None:
            for place, index in enumerate(wanted):
                self._put(stack, place, index, self._kept[index])
            return stack.array()
        places = {index: place for place, index in enumerate(wanted)}
        for index, frame in enumerate(self._frames()):
            if index in places:
                self._put(stack, places[index], index, frame)
                if index == wanted[-1]:
                    return stack.array()
        raise VideoError(f"{self.source.path}: the file changed while it was read")

    def _put(self, stack: Stack, place: int, index: int, frame: Any) -> None:
        if frame.is_corrupt:
            raise VideoError(f"{self.source.path}: frame {index} is damaged")
        stack.put(place, frame)
