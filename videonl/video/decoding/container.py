"""Open a file for decoding: regular files and video formats only; choose its video stream.

An untrusted name or file must not make FFmpeg read anything else: a playlist that names other
files, ``concat:``, an address, a device. So the file is opened as ``file:`` with its absolute path,
and FFmpeg may use only the ``file`` protocol and demuxers of video files.
"""

import os
import re
import stat
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Discard, Disposition

from videonl.errors import VideoError
from videonl.files import POINTERS

# Demuxers that read one file and nothing else. Not hls, dash, concat, image2, lavfi, sdp, imf...
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska,webm",
    "avi",
    "mpegts",
    "mpeg",
    "mpegvideo",
    "flv",
    "ogg",
    "asf",
    "gif",
    "ivf",
    "mxf",
    "h264",
    "hevc",
)
_OTHER_FORMAT = "none of the formats read, such as MP4, Matroska, WebM, AVI, MPEG, FLV, WMV or GIF"
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(FORMATS),
    # Some wrong length in a hostile header must not make the demuxer allocate without end.
    "max_streams": "64",
}
# To open a file FFmpeg decodes its first frames, which takes as long as decoding ten. Where the
# header tells the frames (mp4_table.py) nothing of that is needed.
_QUICK = {"probesize": "32", "skip_frame": "all"}
# Transfer functions of high dynamic range (ITU-R BT.2100), by the numbers of ISO/IEC 23091-2.
HIGH_RANGE = {16: "PQ", 18: "HLG"}
MAX_PIXELS = 1 << 26  # 67 million pixels a frame: 8K has 33 million


@dataclass
class Source:
    """An open container and its video stream; every other stream is discarded while demuxing."""

    path: Path
    container: Any
    stream: Any
    video_streams: int

    @property
    def format(self) -> str:
        """FFmpeg's name of the container format, for instance ``"avi"``."""
        return str(self.container.format.name)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec (not of the decoder: AV1 is ``"av1"`` whoever decodes it)."""
        return str(self.stream.codec_context.codec.canonical_name)

    @property
    def declared_rate(self) -> Fraction | None:
        """Frames per second, as the header states; None where it does not."""
        return self.stream.average_rate or self.stream.guessed_rate

    @property
    def high_range(self) -> str:
        """``"PQ"`` or ``"HLG"`` where the colours are of high dynamic range, else ``""``."""
        return HIGH_RANGE.get(int(self.stream.codec_context.color_trc), "")

    def close(self) -> None:
        """Close the file."""
        self.container.close()


Span = tuple[float, float | None]
_SPAN = re.compile(r"(.+)#t=(\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?))?", re.DOTALL)


def split_span(path: str | os.PathLike[str]) -> tuple[str, Span | None]:
    """``a.mp4#t=1.5,4`` (W3C Media Fragments) -> the file, and the seconds of the part.

    A file that has such a name itself is that file.
    """
    text = os.fspath(path)
    match = _SPAN.fullmatch(text)
    if match is None or os.path.lexists(text):
        return text, None
    return match[1], (float(match[2]), float(match[3]) if match[3] else None)


def with_span(path: str, span: Span | None) -> str:
    """The name of a part of a video; see :func:`split_span`."""
    if span is None:
        return path
    start, end = (None if s is None else np.format_float_positional(s, trim="-") for s in span)
    return f"{path}#t={start}" + (f",{end}" if end is not None else "")


def regular_file(path: str | os.PathLike[str]) -> Path:
    """The path of a regular, non-empty file.

    Raises:
        VideoError: it is missing, a folder, a device or a pipe, empty, or not readable.
    """
    text = split_span(path)[0]
    try:
        status = os.stat(text)
    except ValueError as error:  # a NUL character, or half of a pair of UTF-16
        raise VideoError(f"{text!r} is not a file name ({error})") from error
    except OSError as error:
        hint = "; videonl reads files, not addresses: download it first" if "://" in text else ""
        raise VideoError(f"{text}: {error.strerror or error}{hint}") from error
    if stat.S_ISDIR(status.st_mode):
        raise VideoError(f"{text}: it is a folder; give a video file")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{text}: it is not a regular file (but a device, pipe or socket)")
    if status.st_size == 0:
        raise VideoError(f"{text}: the file is empty (0 bytes)")
    if not os.access(text, os.R_OK):
        raise VideoError(f"{text}: no permission to read this file")
    return Path(text)


def open_source(path: str | os.PathLike[str], *, threads: int = 1, quick: bool = False) -> Source:
    """Open a regular file and choose its video stream.

    The stream is FFmpeg's best video stream (``av_find_best_stream``: default disposition first,
    then bit rate), as decord takes it; cover pictures are no video.

    Args:
        path: a regular file.
        threads: decoder threads; 1 inside data loader workers.
        quick: open without decoding anything; the pixel format is then unknown, and the delay of
            the decoder is the one that the stream declares.

    Raises:
        VideoError: not a regular file, not a known video format, or no video stream.
    """
    file = regular_file(path)
    try:
        container = av.open(
            f"file:{file.absolute()}",
            options={**_OPTIONS, **_QUICK} if quick else _OPTIONS,
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        for mark, words in POINTERS:
            with open(file, "rb") as stream:
                if stream.read(len(mark)) == mark:
                    raise VideoError(f"{path}: {words}") from error
        why = why_not_opened(error)
        raise VideoError(f"{path}: not a readable video file ({why})") from error
    try:
        stream, count = _choose(container, path)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        stream.codec_context.options = decoder_options(stream.codec_context.codec.canonical_name)
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "NONE" if threads == 1 else "AUTO"
    except BaseException:
        container.close()
        raise
    return Source(file, container, stream, count)


def decoder_options(codec: str) -> dict[str, str]:
    """Options for FFmpeg's decoder; without them that of MJPEG silently fills damaged pictures."""
    strict = {"err_detect": "explode"} if codec == "mjpeg" else {}
    return {"max_pixels": str(MAX_PIXELS), **strict}


def why_not_opened(error: BaseException) -> str:
    """The reason in words; of a format that it may not use FFmpeg says "Invalid argument"."""
    return _OTHER_FORMAT if isinstance(error, av.ArgumentError) else reason(error)


def reason(error: BaseException) -> str:
    """FFmpeg's message of an error, without its errno and the file name."""
    return str(getattr(error, "strerror", None) or error).strip().rstrip(".")


def _choose(container: Any, path: str | os.PathLike[str]) -> tuple[Any, int]:
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        kinds = sorted({s.type for s in container.streams})
        raise VideoError(
            f"{path}: it has no video stream (only {', '.join(kinds) or 'nothing readable'})"
        )
    best = container.streams.best("video")
    stream = best if any(s.index == best.index for s in videos) else videos[0]
    context = stream.codec_context
    if context is None:
        raise VideoError(f"{path}: no decoder for its video stream; convert it to H.264")
    if context.width * context.height > MAX_PIXELS:
        raise VideoError(
            f"{path}: frames of {context.width}x{context.height} are too large (at most "
            f"{MAX_PIXELS} pixels); scale the video down first"
        )
    return stream, len(videos)
