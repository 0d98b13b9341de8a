"""Exact random access by the table of packets: start at the right packet, match frames by time."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import av
import numpy as np

from videonl.errors import VideoError
from videonl.video.decoding.container import Source, reason
from videonl.video.decoding.frame_table import FrameTable
from videonl.video.decoding.pictures import Pictures, Scaling, Stack
from videonl.video.decoding.sequential_decoder import repaired

# To an entry point this near, packets are read and dropped: cheaper than a seek.
WALK = 64


class TableError(Exception):
    """The decoder's frames contradict the table, so the packets do not determine the frames."""


class CorruptError(TableError):
    """A frame that was not asked for is damaged; frames that reference it would be wrong."""


class DamageError(VideoError):
    """A requested frame is damaged, or a packet on the way to it."""


class PacketDecoder:
    """Reads frames of a file whose packets determine them (see frame_table.py)."""

    def __init__(self, source: Source, table: FrameTable, pictures: Pictures) -> None:
        self.source = source
        self.table = table
        self.pictures = pictures
        self._packets: Iterator[Any] | None = None
        self._position = 0  # in decoding order, of the packet that comes next

    def read(self, wanted: list[int], scale: Scaling) -> np.ndarray:
        """Frames ``wanted`` (sorted, unique) as uint8 (T, H, W, 3)."""
        place = {int(self.table.frame_pts[index]): i for i, index in enumerate(wanted)}
        stack = Stack(self.pictures, len(wanted), scale)
        for start, frames in self._groups(wanted):
            self._decode_group(start, frames, place, stack)
        return stack.array()

    def read_repaired(self, wanted: list[int], scale: Scaling) -> tuple[np.ndarray, set[int]]:
        """What :meth:`read` gives, and the numbers of those frames that are damaged.

        In place of a damaged frame stands what the decoder made of it; in place of one that it did
        not give at all, the picture before. Frames after a packet that cannot be decoded count as
        damaged up to the next entry point.

        Raises:
            VideoError: no picture near them can be decoded.
        """
        stack = Stack(self.pictures, len(wanted), scale)
        places = {index: place for place, index in enumerate(wanted)}
        damaged: set[int] = set()
        for start, frames in self._groups(wanted):
            before: Any = None
            missing = list(frames)
            lost: list[range] = []
            for frame in self._forgiving(start, int(self.table.frame_packet[frames].max()), lost):
                while missing and self.table.frame_pts[missing[0]] <= frame.pts:
                    index = missing.pop(0)
                    exact = int(self.table.frame_pts[index]) == frame.pts
                    if not exact or frame.is_corrupt:
                        damaged.add(index)
                    stack.put(places[index], frame if exact or before is None else before)
                before = frame
            if missing and before is None:
                raise DamageError(f"{self.source.path}: frame {missing[0]} is damaged")
            for index in missing:
                damaged.add(index)
                stack.put(places[index], before)
            positions = self.table.frame_packet
            damaged |= {i for i in frames if any(positions[i] in reach for reach in lost)}
        return stack.array(), damaged

    def _forgiving(self, start: int, last: int, lost: list[range]) -> Iterator[Any]:
        """Decode packets ``start`` to ``last``; notes which ones are lost with those that fail."""
        context = self.source.stream.codec_context
        packet = self._go_to(start)
        while True:
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                place = self._position - 1
                frames = repaired(packet, self.source.codec)
                lost.append(range(place, (place if frames else self.table.group_end(place)) + 1))
            yield from (frame for frame in frames if frame.pts is not None)
            if self._position > last:
                break
            packet = self._next()
        with suppress(av.error.InvalidDataError):
            yield from (frame for frame in context.decode(None) if frame.pts is not None)

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
        self, start: int, frames: list[int], place: dict[int, int], stack: Stack
    ) -> None:
        missing = {int(self.table.frame_pts[i]): i for i in frames}
        last = int(self.table.frame_packet[frames].max())
        # libdav1d heeds the wish to skip frames only when it starts, and then for ever.
        wanted = set(missing) if self.source.codec != "av1" else None
        delay = bool(self.source.stream.codec_context.has_b_frames)
        proof = self.table.proof(start, last, delay=delay)
        if proof is not None:
            last, wanted = self.table.group_end(last), None
        before: int | None = None
        count = 0
        for frame in self._decoded(start, last, wanted):
            if frame.pts is None or (before is not None and frame.pts <= before):
                raise TableError
            if proof is not None and (count >= len(proof) or frame.pts != proof[count]):
                raise TableError
            if frame.is_corrupt and frame.pts not in missing:
                raise CorruptError  # what leans on it is as in a full decode only after one
            before = frame.pts
            count += 1
            index = missing.pop(frame.pts, None)
            if index is None:
                continue
            if frame.is_corrupt:
                raise DamageError(f"{self.source.path}: frame {index} is damaged")
            stack.put(place[frame.pts], frame)
        if missing or (proof is not None and count != len(proof)):
            raise TableError
        late = bool(self.source.stream.codec_context.has_b_frames) and not delay
        if late and self.table.in_order:  # only decoding told that frames are held back: once more
            self._decode_group(start, frames, place, stack)

    def _decoded(self, start: int, last: int, wanted: set[int] | None) -> Iterator[Any]:
        """Decode packets ``start`` to ``last``, then flush the decoder.

        Pictures that were not asked for and that no other picture references are not decoded,
        unless ``wanted`` is None.
        """
        context = self.source.stream.codec_context
        packet = self._go_to(start)
        skipping = False
        try:
            while True:
                unwanted = wanted is not None and packet.pts not in wanted
                if unwanted is not skipping:
                    context.skip_frame = "NONREF" if unwanted else "DEFAULT"
                    skipping = unwanted
                yield from packet.decode()
                if self._position > last:
                    break
                packet = self._next()
            context.skip_frame = "DEFAULT"
            yield from context.decode(None)
        except (av.FFmpegError, OSError) as error:
            self._packets = None
            raise DamageError(
                f"{self.source.path}: damaged at packet {self._position - 1} of "
                f"{len(self.table.pts)} ({reason(error)})"
            ) from error

    def _next(self) -> Any:
        assert self._packets is not None
        packet = next(self._packets, None)
        place = self._position
        if packet is None or place >= len(self.table.pts):
            raise TableError
        if (packet.pts, packet.dts) != (self.table.pts[place], self.table.dts[place]):
            raise TableError
        self._position += 1
        return packet

    def _go_to(self, start: int) -> Any:
        """The packet at decoding position ``start``, with a fresh decoder."""
        if self._packets is not None and 0 <= start - self._position <= WALK:
            while self._position < start:
                self._next()
            self.source.stream.codec_context.flush_buffers()
        else:
            self._packets = self._packets_from(start)
            self._position = start
        self.source.stream.codec_context.skip_frame = "DEFAULT"
        return self._next()

    def _packets_from(self, start: int) -> Iterator[Any]:
        """Demux from the packet at decoding position ``start``, whatever the seek does."""
        stream = self.source.stream
        pts, dts = self.table.pts[start], self.table.dts[start]
        # Matroska's index holds presentation times, MP4's decoding times: try both, look where the
        # seek landed, and walk on from there.
        targets = [self.table.dts[0], self.table.pts[0]]
        if start:
            targets = [pts, dts, *targets]
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
            if packet is None or (packet.pts, packet.dts) != (pts, dts):
                continue
            return _chain(packet, packets)
        raise TableError


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
