"""The table of a file's frames: which packet shows frame ``i``, and where its decoding may start.

There are two ways to list the frames, both exact:

- *packets*: demuxing alone (no decoding; about 1 ms for 10 s of video) gives the presentation time
  of every packet, and with the codecs and containers below one packet is one frame, so the frames
  in order of time are the frames of a full sequential decode. Decoding may start at packets that
  reset the decoder; for H.264 the flag "key frame" of a container is not enough (an I-frame that is
  not an IDR frame), so the NAL unit itself is read.
- *sequential*: everything else (MPEG-4 in AVI with packed or dropped pictures, H.263, MPEG-1,
  missing or repeated times, damaged starts). The frames are those that decoding from the start
  gives.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

# Containers whose packets carry their own, true times.
TIMED_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
# Codecs of which one packet shows one frame (VP8 and VP9: if it is marked as shown).
ONE_FRAME_CODECS = {"h264", "hevc", "vp8", "vp9", "av1", "mjpeg", "png", "prores", "dnxhd", "ffv1"}


class PacketInfo(NamedTuple):
    """What the table keeps of a packet; the index in the list is its place in decoding order."""

    pts: int | None
    dts: int | None
    key: bool  # the container calls it a key frame
    entry: bool  # decoding may start here
    shown: bool  # not discarded by an edit list, not damaged, not a hidden frame
    whole: bool  # not cut off; NAL units fill it exactly, and one of them is a slice
    duration: int  # ticks for which it says that it is shown, 0 where it does not


@dataclass
class FrameTable:
    """Frames in order of display, for a file whose packets list all of them.

    A *position* is the place of a packet in decoding order.
    """

    pts: list[int]  # of the packet at each position, in stream ticks
    dts: list[int | None]
    frame_packet: np.ndarray  # int64 (frames,): position of frame i
    frame_pts: np.ndarray  # int64 (frames,): presentation time in stream ticks
    entries: np.ndarray = field(repr=False)  # positions of the packets to start at
    entry_pts: np.ndarray = field(repr=False)
    hidden: int = 0  # packets that show nothing
    false_keys: int = 0  # key frames of the container at which decoding may not start
    held: int = 0  # ticks for which the packet of the last frame says that it is shown

    @cached_property
    def place(self) -> dict[tuple[int | None, int | None], int]:
        """(pts, dts) -> position."""
        return {times: i for i, times in enumerate(zip(self.pts, self.dts, strict=True))}

    @cached_property
    def closed(self) -> bool:
        """Whether every frame of a group is shown before all frames of the next one."""
        rank = np.empty(len(self.pts), np.int64)
        rank[np.argsort(np.array(self.pts, np.int64))] = np.arange(len(rank))
        return bool((np.maximum.accumulate(rank)[self.entries] == self.entries).all())

    @cached_property
    def _doubtful(self) -> np.ndarray:
        """Bool (positions,): packets whose place in the order of display is not confirmed.

        An encoder gives packet ``i + delay`` the time of the ``i``-th frame shown as its time of
        decoding. Where one wrong number in a header moved a frame, that fails.
        Matroska stores no times of decoding, so there is nothing to compare (and no table in a
        header that could be damaged).
        """
        count = len(self.pts)
        if None in self.dts:
            return np.zeros(count, bool)
        order = np.argsort(np.array(self.pts, np.int64))
        shown, dts = np.array(self.pts, np.int64)[order], np.array(self.dts, np.int64)
        delay = int(np.searchsorted(dts, shown[0]))
        known = max(count - delay, 0)
        doubtful = np.ones(count, bool)
        doubtful[order[:known]] = dts[count - known :] != shown[:known]
        steps = np.diff(shown)  # the last frames have no packet that tells: do the steps go on?
        if known > 1:
            doubtful[order[known:]] = ~np.isin(steps[known - 1 :], steps[: known - 1])
        return doubtful if self.closed else np.full(count, doubtful.any())

    def group_end(self, position: int) -> int:
        """Last position of the group that holds ``position``."""
        following = self.entries[self.entries > position]
        return int(following[0]) - 1 if len(following) else len(self.pts) - 1

    @cached_property
    def in_order(self) -> bool:
        """Whether all packets are shown in the order in which they are decoded."""
        return all(a < b for a, b in itertools.pairwise(self.pts))

    def proof(self, start: int, last: int, *, delay: bool = False) -> np.ndarray | None:
        """The times that decoding must reproduce, where the order of frames is in doubt.

        Args:
            start: position of the first packet that is decoded.
            last: position of the last one that is needed.
            delay: the decoder holds frames back, so it may show them in another order; a table in
                which decoding and display order never differ has then lost its offsets.

        Returns:
            None where the order of the frames is certain, else the times of the groups from
            ``start`` to ``last``, increasing: only a decoder that gives exactly these proves which
            frame is which.
        """
        end = self.group_end(last)
        if not (delay and self.in_order) and not self._doubtful[start : end + 1].any():
            return None
        inside = (self.frame_packet >= start) & (self.frame_packet <= end)
        expected: np.ndarray = self.frame_pts[inside & (self.frame_pts >= self.pts[start])]
        return expected

    def __len__(self) -> int:
        return len(self.frame_pts)

    def start(self, frame: int) -> int:
        """Decoding position of the last packet from which frame ``frame`` decodes exactly.

        Pictures that come after an entry point but are shown before it (leading pictures of an open
        group) may reference the group before, so the entry must not be later than the frame in
        either order.
        """
        usable = (self.entries <= self.frame_packet[frame]) & (
            self.entry_pts <= self.frame_pts[frame]
        )
        return int(self.entries[usable][-1])


def build_table(
    packets: Sequence[PacketInfo], codec: str, container_format: str
) -> FrameTable | None:
    """The table of frames, or None where packets do not determine the frames exactly."""
    shown = [(p.pts, i) for i, p in enumerate(packets) if p.shown]
    if codec not in ONE_FRAME_CODECS or container_format not in TIMED_FORMATS or not shown:
        return None
    if not packets[0].entry or any(p.pts is None or not p.whole for p in packets):
        return None
    order = sorted(shown)  # type: ignore[type-var]
    pts = np.array([time for time, _ in order], np.int64)
    if (np.diff(pts) <= 0).any():
        return None  # two frames at one time: their order is not known
    if pts[0] < packets[0].pts:  # type: ignore[operator]
        return None  # leading pictures without the group they lean on: the decoder drops some
    dts = [p.dts for p in packets if p.dts is not None]
    if any(b <= a for a, b in itertools.pairwise(dts)):
        return None
    entries = [i for i, p in enumerate(packets) if p.entry]
    table = FrameTable(
        pts=[p.pts for p in packets if p.pts is not None],
        dts=[p.dts for p in packets],
        frame_packet=np.array([i for _, i in order], np.int64),
        frame_pts=pts,
        entries=np.array(entries, np.int64),
        entry_pts=np.array([packets[i].pts for i in entries], np.int64),
        hidden=len(packets) - len(shown),
        false_keys=sum(p.key and not p.entry for p in packets),
        held=packets[order[-1][1]].duration,
    )
    if codec == "h264" and not table.closed:
        return None  # nothing passes an IDR picture: the times are wrong
    return table


class PacketReader:
    """Reads from the bytes of a packet what the container does not state reliably."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self.codec = codec
        self.length_size = 0  # bytes of a NAL unit's length; 0 = start codes (Annex B)
        if extradata and extradata[0] == 1:
            if codec == "h264" and len(extradata) > 4:
                self.length_size = (extradata[4] & 3) + 1
            elif codec == "hevc" and len(extradata) > 21:
                self.length_size = (extradata[21] & 3) + 1

    def info(self, packet: Any) -> PacketInfo:
        """The entry of a packet in the table."""
        whole = not packet.is_corrupt
        duration = int(packet.duration or 0)
        shown = whole and not packet.is_discard
        key = bool(packet.is_keyframe)
        entry = key and whole
        if self.codec in ("vp8", "vp9"):
            shown = shown and self._is_shown(memoryview(packet))
            return PacketInfo(packet.pts, packet.dts, key, entry, shown, whole, duration)
        if self.codec not in ("h264", "hevc"):
            return PacketInfo(packet.pts, packet.dts, key, entry, shown, whole, duration)
        data = memoryview(packet)
        slice_type, filled = self._first_slice(data)
        entry = entry and self._resets(slice_type)
        return PacketInfo(packet.pts, packet.dts, key, entry, shown, whole and filled, duration)

    def _is_shown(self, data: memoryview) -> bool:
        """Whether a VP8 or VP9 packet shows a frame (RFC 6386 section 9.1; VP9 section 6.2)."""
        first = data[0]
        if self.codec == "vp8":
            return bool(first & 0x10)
        if data[-1] & 0xE0 == 0xC0:
            return True  # a superframe: hidden frames packed with a shown one
        shift = first >> 4 & 3 == 3  # profile 3 has a reserved bit before these
        return bool(first & (0x08 >> shift)) or bool(first & (0x02 >> shift))

    def _resets(self, slice_type: int | None) -> bool:
        """Whether a slice is IDR (H.264 type 5) or IRAP (HEVC types 16 to 21)."""
        if slice_type is None:
            return False
        return slice_type == 5 if self.codec == "h264" else 16 <= slice_type <= 21

    def _first_slice(self, data: memoryview) -> tuple[int | None, bool]:
        """(type of the first slice, whether the NAL units fill the packet and one is a slice).

        Units that do not end where the packet does are the mark of a wrong size or place.
        """
        if not self.length_size:
            kinds = (self._slice_type(data[i]) for i in _start_codes(data))
            found = next((kind for kind in kinds if kind is not None), None)
            return found, found is not None
        found, position = None, 0
        while position + self.length_size < len(data):
            size = int.from_bytes(data[position : position + self.length_size], "big")
            position += self.length_size
            if found is None:
                found = self._slice_type(data[position])
            if size == 0:
                return found, False
            position += size
        return found, found is not None and position == len(data)

    def _slice_type(self, head: int) -> int | None:
        """The type of a NAL unit by its first byte; None where it is no slice."""
        if self.codec == "h264":
            return head & 0x1F if 1 <= head & 0x1F <= 5 else None
        return head >> 1 & 0x3F if head >> 1 & 0x3F < 32 else None


def _start_codes(data: memoryview) -> list[int]:
    """Offsets of the NAL units' headers in a packet of Annex B."""
    text = bytes(data[:65536])
    offsets, found = [], text.find(b"\0\0\1")
    while found >= 0 and found + 3 < len(text):
        offsets.append(found + 3)
        found = text.find(b"\0\0\1", found + 3)
    return offsets
