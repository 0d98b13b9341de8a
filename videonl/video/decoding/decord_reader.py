"""Read frames with decord, only where it is exact, and without its known faults.

decord 0.6 trusts the header's frame count (reading near the end of a file with too high a count
loops for ever and holds the interpreter lock), miscounts MPEG-4 AVI, replaces damaged frames
silently, keeps decoding while idle and is not safe across a fork. So the file is verified with PyAV
first, and a reader is made, asked once for sorted unique frames, and dropped.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from videonl.errors import VideoError
from videonl.shares import counted
from videonl.video.decoding.container import Source
from videonl.video.decoding.frame_table import TIMED_FORMATS, FrameTable

PIXEL_FORMATS = {"yuv420p", "yuvj420p"}
AT_ONCE = 256 << 20  # bytes of whole frames; to go on takes decord a search from the key frame


def decord_obstacle(
    source: Source, table: FrameTable | None, *, rotation: int, width: int
) -> str | None:
    """Why decord is not exact for this file, or None if it is.

    Args:
        source: the open file.
        table: its table of frames.
        rotation: degrees, from its metadata.
        width: of an upright frame.
    """
    context = source.stream.codec_context
    if table is None:
        return "its packets do not determine its frames"
    if source.codec != "h264" or source.format not in TIMED_FORMATS:
        return f"{source.codec} in {source.format.split(',')[0]}, not H.264 in MP4, MOV or MKV"
    if source.video_streams > 1:
        return f"{source.video_streams} video streams"
    if context.pix_fmt not in PIXEL_FORMATS:
        return f"pixel format {context.pix_fmt}"
    if min(context.width, context.height) < 32:
        return f"frames of {context.width}x{context.height}"
    if table.hidden:
        return "an edit list or damaged packets"
    if source.stream.frames not in (0, len(table)):
        return (
            f"the header says {counted(source.stream.frames, 'frame')}, the file has {len(table)}"
        )
    if table.false_keys:
        return "key frames that do not reset the decoder"
    if rotation % 180 and width % 32:
        return f"turned to a width of {width}, not a multiple of 32"  # it mistakes the row length
    return None


def read_with_decord(
    path: Path,
    wanted: list[int],
    size: tuple[int, int],
    num_frames: int,
    *,
    scale: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Frames ``wanted`` (sorted, unique), uint8 (T, H, W, 3).

    decord's own scaling is bicubic, brighter by one of 255, and mistakes the length of a row where
    it also turns: it gives whole frames, and ``scale`` scales some at a time.

    Args:
        path: of the file.
        wanted: numbers of frames.
        size: (height, width) of an upright frame.
        num_frames: in the file.
        scale: whole upright frames (T, H, W, 3) to those of the answer.

    Raises:
        VideoError: decord is not installed, fails, or counts other frames.
    """
    try:
        import decord
    except ImportError as error:
        raise VideoError(
            "decoder='decord' needs the package decord; use 'auto' or 'pyav'"
        ) from error
    height, width = size
    try:
        reader = decord.VideoReader(
            os.path.abspath(path), num_threads=1, width=width, height=height
        )
        count = len(reader)
        if count != num_frames:
            raise VideoError(f"{path}: decord counts {count} frames, the file has {num_frames}")
        parts = []
        count_at_once = max(1, AT_ONCE // (3 * height * width))
        for start in range(0, len(wanted), count_at_once):
            batch = reader.get_batch(wanted[start : start + count_at_once])
            # Another library may have set decord's bridge for the whole process (pytorchvideo).
            whole = batch.asnumpy() if hasattr(batch, "asnumpy") else np.asarray(batch)
            parts.append(scale(whole))
        del reader
    except (RuntimeError, IndexError, decord.DECORDError) as error:
        lines = str(error).strip().splitlines() or ["?"]
        raise VideoError(f"{path}: decord fails ({lines[0]})") from error
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
