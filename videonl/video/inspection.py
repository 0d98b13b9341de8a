"""Check one video file: does it decode, to its end, and to the length that its header states?"""

from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from videonl.errors import VideoError
from videonl.shares import counted
from videonl.video.decoding.container import open_source, reason

# Findings with which a file is of no use for training, and those that are only worth knowing.
BAD = ("unreadable", "no_video", "no_frames", "damaged", "timeout", "memory", "crash")
NOTABLE = ("truncated", "frame_count", "extreme_size", "high_range")
SMALLEST, LARGEST = 32, 4096  # pixels of a side beyond which a size is extreme
SAMPLES, SIDE = 4, 16
STEP = 3  # grey levels by which a pixel is brighter or darker than its neighbour: coding moves less
MOST_KEPT = 16  # small pictures in memory; when so many are there, every other one goes


@dataclass
class Finding:
    """The result of the check.

    Attributes:
        status: ``"ok"``, or one of ``BAD`` or ``NOTABLE``.
        why: the reason in words, for a status other than ok.
        frames: frames decoded.
        declared: frames according to the header, 0 if it does not say.
        width: of the first frame, before rotation.
        height: likewise.
        codec: FFmpeg's name.
        seconds: duration from the first to the last frame.
        rate: frames per second according to the header; 0 if it does not say.
        pictures: a fingerprint of its frames, in hexadecimal digits: ``SAMPLES`` small pictures of
            ``SIDE`` rows of ``SIDE`` steps from one pixel to the next, each two bits (brighter,
            darker). Empty if only the first frame was decoded.
    """

    status: str = "ok"
    why: str = ""
    frames: int = 0
    declared: int = 0
    width: int = 0
    height: int = 0
    codec: str = ""
    seconds: float = 0.0
    rate: float = 0.0
    pictures: str = ""


def inspect_file(path: str, *, quick: bool = False) -> Finding:
    """Decode a file from its first to its last frame.

    Args:
        path: the file.
        quick: decode only the first frame and count the others by their packets.
    """
    try:
        source = open_source(path)
    except VideoError as error:
        text = str(error).removeprefix(f"{path}: ")
        return Finding("no_video" if "no video stream" in text else "unreadable", text)
    finding = Finding(codec=source.codec, declared=int(source.stream.frames))
    finding.rate = round(float(source.declared_rate or 0), 3)
    try:
        damaged = _count_packets(source, finding) if quick else _decode(source, finding)
    except (av.FFmpegError, OSError) as error:
        if isinstance(error, MemoryError):
            raise
        finding.status, finding.why = "damaged", f"after frame {finding.frames}: {reason(error)}"
        return finding if finding.frames else _none(finding)
    finally:
        source.close()
    if not finding.frames:
        return _none(finding)
    return _judge(finding, damaged, source.high_range)


def _none(finding: Finding) -> Finding:
    finding.status, finding.why = "no_frames", finding.why or "no frame can be decoded"
    return finding


def _decode(source: Any, finding: Finding) -> int:
    """Count the frames; returns how many of them are damaged."""
    first = last = None
    damaged = 0
    small: list[np.ndarray] = []
    apart = 1
    for frame in source.container.decode(source.stream):
        if not finding.frames:
            finding.width, finding.height = frame.width, frame.height
        if finding.frames % apart == 0:
            small += _small(frame)
            if len(small) == MOST_KEPT:
                small, apart = small[::2], 2 * apart
        finding.frames += 1
        damaged += frame.is_corrupt
        if frame.pts is not None:
            first, last = frame.pts if first is None else first, frame.pts
    if first is not None and last is not None:
        finding.seconds = round(float((last - first) * source.stream.time_base), 3)
    if small:
        finding.pictures = _hash(small, finding.frames / apart)
    return damaged


def _small(frame: Any) -> list[np.ndarray]:
    """The frame as uint8 (16, 17) grey; empty if it decodes but cannot be scaled."""
    try:
        grey = frame.reformat(SIDE + 1, SIDE, format="gray", interpolation="AREA")
        return [grey.to_ndarray()]
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, MemoryError):
            raise
        return []


def _hash(small: list[np.ndarray], length: float) -> str:
    """``Finding.pictures`` of uint8 (16, 17) pictures, spread evenly over their steps."""
    wanted = ((k + 0.5) / SAMPLES * length for k in range(SAMPLES))
    chosen = np.stack([small[min(len(small) - 1, round(place))] for place in wanted])
    steps = np.diff(chosen.astype(np.int16), axis=-1)
    return np.packbits(np.stack([steps >= STEP, steps <= -STEP])).tobytes().hex()


def _count_packets(source: Any, finding: Finding) -> int:
    finding.width, finding.height = source.stream.width, source.stream.height
    first = last = None
    damaged = shown = 0
    decoded = False
    for packet in source.container.demux(source.stream):
        if not decoded:
            decoded = bool(packet.decode())
        if packet.size and not packet.is_discard:
            shown += 1
            damaged += packet.is_corrupt
            if packet.pts is not None:
                first = packet.pts if first is None else min(first, packet.pts)
                last = packet.pts if last is None else max(last, packet.pts)
    finding.frames = shown if decoded else 0
    if first is not None and last is not None:
        finding.seconds = round(float((last - first) * source.stream.time_base), 3)
    return damaged


def _judge(finding: Finding, damaged: int, high_range: str) -> Finding:
    short, long = sorted((finding.width, finding.height))
    if damaged:
        finding.status, finding.why = (
            "damaged",
            f"{damaged} of {counted(finding.frames, 'frame')} damaged",
        )
    elif finding.declared and finding.frames < 0.95 * finding.declared:
        finding.status = "truncated"
        finding.why = (
            f"the header says {counted(finding.declared, 'frame')}, but the file ends after "
            f"{finding.frames}"
        )
    elif finding.declared and finding.frames != finding.declared:
        finding.status = "frame_count"
        finding.why = (
            f"the header says {counted(finding.declared, 'frame')}, but {finding.frames} decode"
        )
    elif short < SMALLEST or long > LARGEST:
        finding.status, finding.why = "extreme_size", f"{finding.width}x{finding.height} pixels"
    elif high_range:
        finding.status = "high_range"
        finding.why = f"colours of high dynamic range ({high_range}), read without tone mapping"
    return finding
