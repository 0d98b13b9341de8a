"""The table of frames of an ordinary MP4 file, read from its header instead of from its packets.

FFmpeg needs a few milliseconds to open a file and to read its packets: as long as decoding ten
frames of a prepared one. An ordinary file (one H.264 video track, no fragments, at most the edit
that takes back the delay of B-frames) has the same information in its ``moov`` box (ISO/IEC
14496-12, section 8), which takes a fraction of a millisecond to read. For every other file the
functions here give None, and the packets are read instead.

A damaged header is used only as far as something else confirms it: the samples of all tracks must
fill the data (``mdat``) without a gap or an overlap, so that a wrong size or place is found; key
frames must begin with an IDR slice; groups must follow each other in time. Where times of
presentation and of decoding contradict each other, reading verifies the order by decoding whole
groups (``FrameTable.proof``).
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videonl.video.decoding.frame_table import FrameTable

LARGEST_HEADER = 16 << 20  # bytes of a moov box: an hour of video needs about 2 MB
MOST_SAMPLES = 1 << 20
LATEST = 24 * 3600  # seconds after which the first picture may appear
KNOWN_TABLES = {
    *(b"stsd", b"stts", b"ctts", b"stss", b"stsc", b"stsz", b"stco", b"co64"),
    *(b"sdtp", b"sgpd", b"sbgp", b"cslg", b"stps", b"subs"),  # tell nothing of this
}
_MOST_UNITS = 32  # NAL units looked at in a packet


class _Odd(Exception):
    """The file is not an ordinary one; its packets have to be read."""


class _Samples(NamedTuple):
    """The samples of a track in decoding order: int64 arrays of one length."""

    dts: np.ndarray
    offset: np.ndarray  # pts - dts
    position: np.ndarray  # in the file, bytes
    size: np.ndarray  # bytes
    key: np.ndarray  # numbers of the samples that the header calls key frames


def mp4_table(path: Path) -> FrameTable | None:
    """The table of an ordinary MP4 file, None for every other file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    try:
        return _table(descriptor)
    except (_Odd, struct.error, LookupError, ValueError, OSError, OverflowError):
        return None
    finally:
        os.close(descriptor)


def _table(descriptor: int) -> FrameTable:
    moov, data = _moov(descriptor)
    if b"mvex" in {kind for kind, _ in _boxes(moov)}:
        raise _Odd
    (scale,) = struct.unpack_from(">I", _one(moov, b"mvhd"), 20 if _one(moov, b"mvhd")[0] else 12)
    track = _video_track(moov)
    media = _one(track, b"mdia")
    header = _one(media, b"mdhd")
    (ticks,) = struct.unpack_from(">I", header, 20 if header[0] else 12)
    tables = dict(_boxes(_path(media, b"minf", b"stbl")))
    if not tables.keys() <= KNOWN_TABLES:
        raise _Odd  # perhaps the damaged name of one that counts
    length_size = _description(tables[b"stsd"])
    samples = _samples(tables)
    _check_filled(moov, data)
    shift, end = _edit(track, samples, ticks, scale)
    if not all(_resets(descriptor, samples, key, length_size) for key in samples.key):
        raise _Odd  # a key frame that is no IDR picture, or does not start with its slices
    dts = samples.dts - shift
    pts = dts + samples.offset
    order = np.argsort(pts, kind="stable")
    if (np.diff(pts[order]) <= 0).any() or (np.diff(dts) <= 0).any() or samples.key[0] != 0:
        raise _Odd
    if pts[order[0]] != pts[0]:
        raise _Odd
    table = FrameTable(
        pts=pts.tolist(),
        dts=dts.tolist(),
        frame_packet=order,
        frame_pts=pts[order],
        entries=samples.key,
        entry_pts=pts[samples.key],
        held=max(0, end - int(pts.max())),
    )
    if not table.closed:
        raise _Odd
    return table


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, content) of the boxes in ``data``."""
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if size < 8 or position + size > len(data):
            raise _Odd
        yield kind, data[position + 8 : position + size]
        position += size


def _one(data: memoryview, kind: bytes) -> memoryview:
    found = [content for name, content in _boxes(data) if name == kind]
    if len(found) != 1:
        raise _Odd
    return found[0]


def _path(data: memoryview, *kinds: bytes) -> memoryview:
    for kind in kinds:
        data = _one(data, kind)
    return data


def _moov(descriptor: int) -> tuple[memoryview, tuple[int, int]]:
    """The content of the only moov box, and (start, end) of that of the only mdat box."""
    position, length, found = 0, os.fstat(descriptor).st_size, None
    data: tuple[int, int] | None = None
    for number in range(64):
        head = os.pread(descriptor, 16, position)
        if len(head) < 8:
            break
        size, kind = struct.unpack_from(">I4s", head)
        if number == 0 and kind != b"ftyp":
            raise _Odd
        long = size == 1
        if long:
            (size,) = struct.unpack_from(">Q", head, 8)
        elif size == 0:
            size = length - position
        if size < 8 or position + size > length or kind in (b"moof", b"sidx"):
            raise _Odd
        if kind == b"moov":
            if found is not None or size > LARGEST_HEADER:
                raise _Odd
            found = memoryview(os.pread(descriptor, size, position))[8:]
        elif kind == b"mdat":
            if data is not None:
                raise _Odd
            data = position + (16 if long else 8), position + size
        position += size
    if found is None or data is None or position != length:
        raise _Odd
    return found, data


def _video_track(moov: memoryview) -> memoryview:
    videos = []
    for kind, track in _boxes(moov):
        if kind == b"trak":
            handler = bytes(_path(track, b"mdia", b"hdlr")[8:12])
            if handler == b"vide":
                videos.append(track)
            elif handler not in (b"soun", b"hint", b"meta"):
                raise _Odd
    if len(videos) != 1:
        raise _Odd
    return videos[0]


def _description(content: memoryview) -> int:
    """Bytes of a NAL unit's length, of the one H.264 sample description."""
    (count,) = struct.unpack_from(">I", content, 4)
    entries = list(_boxes(content[8:]))
    if count != 1 or len(entries) != 1 or entries[0][0] != b"avc1":
        raise _Odd
    configuration = _one(entries[0][1][78:], b"avcC")
    if configuration[0] != 1:
        raise _Odd
    return (configuration[4] & 3) + 1


def _array(content: memoryview, columns: int) -> np.ndarray:
    """The entries of a box "version, flags, count, entries of 32 bits"."""
    (count,) = struct.unpack_from(">I", content, 4)
    if count > MOST_SAMPLES:
        raise _Odd
    values = np.frombuffer(content, ">u4", count * columns, offset=8)
    return values.reshape(count, columns).astype(np.int64)


def _sizes(tables: dict[bytes, memoryview]) -> np.ndarray:
    """Bytes of every sample of a track."""
    size, count = struct.unpack_from(">II", tables[b"stsz"], 4)
    if not 0 < count <= MOST_SAMPLES:
        raise _Odd
    if size:
        return np.full(count, size, np.int64)
    return np.frombuffer(tables[b"stsz"], ">u4", count, offset=12).astype(np.int64)


def _samples(tables: dict[bytes, memoryview]) -> _Samples:
    sizes = _sizes(tables)
    count = len(sizes)
    runs = _array(tables[b"stts"], 2)
    steps = _repeated(runs[:, 1], runs[:, 0], count)
    offsets = np.zeros(count, np.int64)
    if b"ctts" in tables:
        runs = _array(tables[b"ctts"], 2)
        offsets = _repeated(runs[:, 1], runs[:, 0], count)
    if (sizes == 0).any():
        raise _Odd
    if (offsets >= 1 << 31).any() or (steps >= 1 << 31).any():
        raise _Odd  # negative: FFmpeg shifts the times
    dts = np.concatenate([[0], np.cumsum(steps[:-1])])
    key = np.arange(count)  # without the box every sample is a key frame
    if b"stss" in tables:
        key = _array(tables[b"stss"], 1)[:, 0] - 1
    if not len(key) or (np.diff(key) <= 0).any() or key[-1] >= count:
        raise _Odd
    places, samples, _ = _chunks(tables, sizes)
    before = np.cumsum(sizes) - sizes  # bytes before a sample, over all chunks
    first = np.cumsum(samples) - samples  # first sample of a chunk
    return _Samples(dts, offsets, before + np.repeat(places - before[first], samples), sizes, key)


def _repeated(values: np.ndarray, times: np.ndarray, total: int) -> np.ndarray:
    """Each value so many times, ``total`` in all; a damaged header must not take the memory."""
    if (times < 0).any() or times.sum() != total:
        raise _Odd
    return np.repeat(values, times)


def _chunks(
    tables: dict[bytes, memoryview], sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(place in the file, number of samples, bytes) of every chunk of a track."""
    if b"stco" in tables:
        chunks = _array(tables[b"stco"], 1)[:, 0]
    else:
        (count,) = struct.unpack_from(">I", tables[b"co64"], 4)
        chunks = np.frombuffer(tables[b"co64"], ">u8", count, offset=8).astype(np.int64)
    runs = _array(tables[b"stsc"], 3)  # first chunk, samples per chunk, description
    if runs[0, 0] != 1 or (np.diff(runs[:, 0]) <= 0).any() or (runs[:, 2] != 1).any():
        raise _Odd
    lengths = np.diff(np.append(runs[:, 0], len(chunks) + 1))
    per_chunk = _repeated(runs[:, 1], lengths, len(chunks))
    if per_chunk.sum() != len(sizes) or (per_chunk < 1).any():
        raise _Odd
    lengths = np.add.reduceat(sizes, np.cumsum(per_chunk) - per_chunk)
    return chunks, per_chunk, lengths


def _check_filled(moov: memoryview, data: tuple[int, int]) -> None:
    """Check that the samples of all tracks lie end to end in the data (right sizes and places)."""
    starts, ends = [], []
    for kind, track in _boxes(moov):
        if kind == b"trak":
            tables = dict(_boxes(_path(track, b"mdia", b"minf", b"stbl")))
            places, _, lengths = _chunks(tables, _sizes(tables))
            starts.append(places)
            ends.append(places + lengths)
    begin, end = np.sort(np.concatenate(starts)), np.sort(np.concatenate(ends))
    if (begin[0], end[-1]) != data or (begin[1:] != end[:-1]).any():
        raise _Odd


def _edit(track: memoryview, samples: _Samples, ticks: int, scale: int) -> tuple[int, int]:
    """Read the one ordinary edit, and an empty one before it: pictures that begin late.

    Returns:
        Ticks that it takes off, the time of the first frame; and the tick at which the last picture
        disappears, 0 where no edit tells.
    """
    edits = [content for kind, content in _boxes(track) if kind == b"edts"]
    if not edits:
        return 0, 0
    content = _one(edits[0], b"elst")
    (count,) = struct.unpack_from(">I", content, 4)
    layout = ">Qqhh" if content[0] else ">Iihh"
    if len(edits) != 1 or count not in (1, 2):
        raise _Odd
    late = 0
    if count == 2:
        empty, start, *_ = struct.unpack_from(layout, content, 8)
        late = empty * ticks // max(scale, 1)
        if start != -1 or empty > LATEST * scale:
            raise _Odd
    place = 8 + (count - 1) * struct.calcsize(layout)
    duration, start, rate, fraction = struct.unpack_from(layout, content, place)
    times = samples.dts + samples.offset
    end = start + duration * ticks // max(scale, 1)
    if (rate, fraction) != (1, 0) or start != times.min() or times.max() >= end:
        raise _Odd
    return int(start) - late, int(end - start) + late


def _resets(descriptor: int, samples: _Samples, number: int, length_size: int) -> bool:
    """Whether the first slice of a sample is IDR."""
    position = int(samples.position[number])
    end = position + int(samples.size[number])
    for _ in range(_MOST_UNITS):
        head = os.pread(descriptor, length_size + 1, position)
        if position + len(head) > end or len(head) <= length_size:
            return False
        if 1 <= head[length_size] & 0x1F <= 5:
            return head[length_size] & 0x1F == 5
        position += length_size + int.from_bytes(head[:length_size], "big")
    return False
