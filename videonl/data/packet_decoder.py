"""Exact random access by the table of packets: start at the right one, decode, match by time."""

from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from videonl.data.container import Source, reason
from videonl.data.frame_table import FrameTable
from videonl.data.pictures import Pictures
from videonl.errors import VideoError


class TableError(Exception):
    """The decoder's frames do not follow the table: the packets do not tell the truth."""


class PacketDecoder:
    """Reads frames of a file whose packets tell them (see frame_table.py)."""

    def __init__(self, source: Source, table: FrameTable, pictures: Pictures) -> None:
        self.source = source
        self.table = table
        self.pictures = pictures

    def read(self, wanted: list[int], short_side: int | None) -> np.ndarray:
        """Frames ``wanted`` (sorted, unique) as uint8 (T, H, W, 3)."""
        found: dict[int, np.ndarray] = {}
        for start, frames in self._groups(wanted):
            self._decode_group(start, frames, short_side, found)
        return np.stack([found[index] for index in wanted])

    def _groups(self, wanted: list[int]) -> list[tuple[int, list[int]]]:
        """(where to start, frames) for every stretch that one decoding run covers.

        A new run starts only where an entry point lies beyond what the run before has to decode.
        """
        groups: list[tuple[int, list[int]]] = []
        end = -1  # last decoding position of the current group
        for frame in wanted:
            start = self.table.start(frame)
            if not groups or start > end + 1:
                groups.append((start, [frame]))
            else:
                groups[-1][1].append(frame)
            end = max(end, int(self.table.frame_packet[frame]))
        return groups

    def _decode_group(
        self, start: int, frames: list[int], short_side: int | None, found: dict[int, np.ndarray]
    ) -> None:
        table = self.table
        missing = {int(table.frame_pts[i]): i for i in frames}
        last = int(table.frame_packet[frames].max())
        context = self.source.stream.codec_context
        before: int | None = None
        for frame in self._decoded(start, last, set(missing), context):
            if frame.pts is None or (before is not None and frame.pts <= before):
                raise TableError
            before = frame.pts
            index = missing.pop(frame.pts, None)
            if index is None:
                continue
            if frame.is_corrupt:
                raise VideoError(f"{self.source.path}: frame {index} is damaged")
            found[index] = self.pictures.array(frame, short_side)
            if not missing:
                return
        raise TableError

    def _decoded(self, start: int, last: int, wanted: set[int], context: Any) -> Iterator[Any]:
        """Decode packets ``start`` to ``last``, then let the decoder hand out what it holds back.

        Pictures that nobody asked for and no other picture leans on are not decoded.
        """
        packets = self._packets_from(start)
        skipping = False
        for position in range(start, last + 1):
            try:
                packet = next(packets)
                unwanted = packet.pts not in wanted
                if unwanted is not skipping:
                    context.skip_frame = "NONREF" if unwanted else "DEFAULT"
                    skipping = unwanted
                yield from packet.decode()
            except StopIteration:
                raise TableError from None
            except (av.FFmpegError, OSError) as error:
                raise VideoError(
                    f"{self.source.path}: damaged at packet {position} of "
                    f"{len(self.table.packets)} ({reason(error)})"
                ) from error
        context.skip_frame = "DEFAULT"
        try:
            yield from context.decode(None)
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"{self.source.path}: {reason(error)}") from error

    def _packets_from(self, start: int) -> Iterator[Any]:
        """Demux from the packet at decoding position ``start``, whatever the seek does."""
        stream = self.source.stream
        info = self.table.packets[start]
        # Matroska's index holds presentation times, MP4's decoding times: try both, look where the
        # seek landed, and walk on from there.
        first = self.table.packets[0]
        targets = [info.pts, info.dts, first.dts, first.pts] if start else [first.dts, first.pts]
        for time in targets:
            if time is None:
                continue
            try:
                self.source.container.seek(time, stream=stream, backward=True)
            except (av.FFmpegError, OSError):
                continue
            packets = (p for p in self.source.container.demux(stream) if p.size)
            packet = next(packets, None)
            if packet is None:
                continue
            position = self.table.place.get((packet.pts, packet.dts))
            if position is None or position > start:
                continue
            while position < start and packet is not None:
                packet = next(packets, None)
                position += 1
            if packet is None or (packet.pts, packet.dts) != (info.pts, info.dts):
                continue
            self.source.stream.codec_context.skip_frame = "DEFAULT"
            return _chain(packet, packets)
        raise TableError


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
