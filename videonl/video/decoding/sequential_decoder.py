"""Exact access by decoding from the start, for files whose packets do not determine the frames."""

from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from videonl.errors import VideoError
from videonl.video.decoding.container import MAX_PIXELS, Source, open_source, reason
from videonl.video.decoding.pictures import Pictures, Scaling, Stack

# Decoded frames are kept (in their own pixel format) up to this size, so that counting and reading
# cost one decode together. A 7-second clip of 320x240 takes 19 MB.
KEEP_BYTES = 96 << 20


def repaired(packet: Any, codec: str, before: Any = None) -> list[Any]:
    """What a decoder makes of a damaged packet of a codec whose pictures are independent (MJPEG).

    Args:
        packet: one that cannot be decoded.
        codec: FFmpeg's name.
        before: a frame to use if the decoder returns nothing.
    """
    if codec != "mjpeg" or not packet.size:
        return []
    context = av.CodecContext.create("mjpeg", "r")
    context.options = {"max_pixels": str(MAX_PIXELS)}
    context.thread_count = 1
    try:
        frames = [*context.decode(packet), *context.decode(None)]
    except av.error.InvalidDataError:
        frames = []
    if not frames and before is not None:
        frames = [av.VideoFrame.from_ndarray(before.to_ndarray(format="rgb24"), "rgb24")]
    for frame in frames:
        frame.pts, frame.time_base = packet.pts, packet.time_base
    return frames[:1]


def decode_all(source: Source, *, forgiving: bool) -> Iterator[tuple[Any, bool]]:
    """(frame, whether it is damaged) from the start to the end.

    Args:
        source: one that was not read from yet.
        forgiving: go on after a packet that cannot be decoded; the frames after it count as damaged
            up to the next key frame.

    Raises:
        FFmpegError: such a packet, unless ``forgiving``.
    """
    lost, clean_from, before = False, None, None
    for packet in source.container.demux(source.stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            pictures = repaired(packet, source.codec, before)
            if not (pictures or forgiving):
                raise
            yield from ((frame, True) for frame in pictures)
            if not pictures:
                lost, clean_from = True, None
            continue
        if lost and clean_from is None and packet.is_keyframe:
            clean_from = packet.pts
        for frame in frames:
            if lost and None not in (clean_from, frame.pts):
                lost = frame.pts < clean_from
            before = frame
            yield frame, lost or bool(frame.is_corrupt)


class SequentialDecoder:
    """Counts the frames of a file by decoding it once, and reads them.

    A read of later frames goes on where the last one ended, so that a long file is decoded once
    more in all, not from its start for every part.

    Attributes:
        pts: int64 (frames,) increasing presentation times in stream ticks, or None.
        held: duration of the last frame in ticks, 0 where it has none.
        damage: None, or why decoding stopped before the end of the file.
        damaged: the numbers of the damaged frames.

    Args:
        source: the file.
        pictures: makes arrays of frames.
        forgiving: see :func:`decode_all`; damaged frames can be read.
    """

    def __init__(self, source: Source, pictures: Pictures, *, forgiving: bool = False) -> None:
        self.source = source
        self.forgiving = forgiving
        self.damaged: set[int] = set()
        self.pictures = pictures
        self.damage: str | None = None
        self._kept: list[Any] | None = []
        self._coming: Iterator[tuple[Any, bool]] = iter(())
        self._next: int | None = None  # number of the frame that comes next; None: start again
        times: list[int | None] = []
        self.held = 0
        size = 0
        for frame, damaged in self._frames():
            if damaged:
                self.damaged.add(len(times))
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

    def _frames(self) -> Iterator[tuple[Any, bool]]:
        """All frames from the start; notes damage and ends there."""
        path = self.source.path
        threads = self.source.stream.codec_context.thread_count
        fresh = open_source(path, threads=threads)  # a seek to the start is not exact everywhere
        try:
            yield from decode_all(fresh, forgiving=self.forgiving)
        except (av.FFmpegError, OSError) as error:
            self.damage = f"decoding stops there ({reason(error)})"
        finally:
            fresh.close()

    def read(self, wanted: list[int], scale: Scaling) -> np.ndarray:
        """Frames ``wanted`` (sorted, unique) as uint8 (T, H, W, 3)."""
        stack = Stack(self.pictures, len(wanted), scale)
        if self._kept is not None:
            for place, index in enumerate(wanted):
                self._put(stack, place, index, self._kept[index])
            return stack.array()
        places = {index: place for place, index in enumerate(wanted)}
        if self._next is None or wanted[0] < self._next:
            self._coming, self._next = self._frames(), 0
        for frame, _ in self._coming:
            index, self._next = self._next, self._next + 1
            if index in places:
                self._put(stack, places[index], index, frame)
                if index == wanted[-1]:
                    return stack.array()
        raise VideoError(f"{self.source.path}: the file changed while it was read")

    def close(self) -> None:
        """Close the file that the last read left open."""
        self._coming, self._next = iter(()), None

    def _put(self, stack: Stack, place: int, index: int, frame: Any) -> None:
        if index in self.damaged and not self.forgiving:
            raise VideoError(f"{self.source.path}: frame {index} is damaged")
        stack.put(place, frame)
