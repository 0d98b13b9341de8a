"""Re-encode one video for fast random access; as a module, the worker of ``videonl prepare``.

Dense key frames and no B-frames: a clip starts at a key frame near it and nothing is decoded twice;
the fast-decode tuning leaves out what is slow to decode (CABAC, the loop filter).
"""

import os
import sys
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, VideoReformatter

from videonl.data.container import open_source, reason
from videonl.data.jobs import serve
from videonl.data.pictures import upright
from videonl.errors import VideoError


@dataclass(frozen=True)
class Recipe:
    """How to encode.

    Attributes:
        short_side: pixels of the shorter side; smaller videos keep their size.
        key_frames: frames from one key frame to the next.
        quality: H.264's constant rate factor; lower is better and larger.
        preset: x264's speed of encoding.
    """

    short_side: int = 256
    key_frames: int = 8
    quality: int = 20
    preset: str = "fast"


@dataclass
class Encoded:
    """What became of a file: ``frames`` written, or ``error``."""

    frames: int = 0
    error: str = ""


def encode_file(source: str | Path, target: str | Path, recipe: Recipe = Recipe()) -> Encoded:
    """Re-encode ``source`` to the MP4 file ``target``, verify it, and only then give it its name.

    All frames are kept with their times, upright; sound is dropped. A source that does not decode
    to its end is refused.
    """
    temporary = Path(f"{target}.tmp")
    try:
        count = _encode(Path(source), temporary, recipe)
        written = _count(temporary)
        if written != count:
            raise VideoError(f"{target}: {written} of {count} frames can be read back")
        os.replace(temporary, target)
    except (VideoError, av.FFmpegError, OSError) as error:
        text = str(error) if isinstance(error, VideoError) else reason(error)
        return Encoded(error=text.removeprefix(f"{source}: "))
    finally:
        temporary.unlink(missing_ok=True)
    return Encoded(frames=count)


def _encode(source: Path, target: Path, recipe: Recipe) -> int:
    reader = open_source(source)
    count = 0
    last: int | None = None
    base = reader.stream.time_base or Fraction(1, 90000)
    try:
        with av.open(f"file:{target.absolute()}", "w", format="mp4") as writer:
            writer_stream: Any = None
            scaler = _Scaler(recipe.short_side)
            for frame in reader.container.decode(reader.stream):
                if frame.is_corrupt:
                    raise VideoError(f"{source}: frame {count} is damaged")
                picture = scaler(frame)
                if writer_stream is None:
                    writer_stream = _stream(writer, reader, picture, recipe)
                # A time that is missing or does not increase: one nominal frame later.
                time = frame.pts
                if time is None or (last is not None and time <= last):
                    time = 0 if last is None else last + _tick(reader.stream, base)
                picture.pts, picture.time_base = time, base
                picture.pict_type = PictureType.NONE  # else x264 repeats the source's key frames
                last = time
                writer.mux(writer_stream.encode(picture))
                count += 1
            if writer_stream is None:
                raise VideoError(f"{source}: no frame can be decoded")
            writer.mux(writer_stream.encode())
    finally:
        reader.close()
    return count


def _tick(stream: Any, base: Fraction) -> int:
    rate = stream.average_rate or stream.guessed_rate or 25
    return max(1, round(1 / (rate * base)))


def _stream(writer: Any, reader: Any, picture: Any, recipe: Recipe) -> Any:
    rate = reader.stream.average_rate or reader.stream.guessed_rate or Fraction(25)
    stream = writer.add_stream("libx264", rate=rate)
    stream.width, stream.height = picture.width, picture.height
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = reader.stream.time_base or Fraction(1, 90000)
    context.colorspace, context.color_range = picture.colorspace, ColorRange.MPEG
    context.thread_count = 1
    group = recipe.key_frames
    context.options = {
        "preset": recipe.preset,
        "tune": "fastdecode",
        "crf": str(recipe.quality),
        "x264-params": f"keyint={group}:min-keyint={group}:scenecut=0:bframes=0",
    }
    return stream


class _Scaler:
    """Frames to yuv420p of even size, upright, the size of the first for all."""

    def __init__(self, short_side: int) -> None:
        self.short_side = short_side
        self.size: tuple[int, int] | None = None
        self.reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> Any:
        if self.size is None:
            factor = min(1.0, self.short_side / min(frame.width, frame.height))
            self.size = (_even(frame.width * factor), _even(frame.height * factor))
        width, height = self.size
        if frame.rotation % 360 == 0:
            return self.reformatter.reformat(
                frame, width, height, "yuv420p", dst_color_range=ColorRange.MPEG
            )
        rgb = self.reformatter.reformat(frame, width, height, "rgb24")
        turned = np.ascontiguousarray(upright(rgb.to_ndarray(), frame))
        return av.VideoFrame.from_ndarray(turned, "rgb24").reformat(format="yuv420p")


def _even(size: float) -> int:
    return max(2, 2 * round(size / 2))


def _count(path: Path) -> int:
    """Decode a written file to its end."""
    source = open_source(path)
    try:
        return sum(1 for _ in source.container.decode(source.stream))
    finally:
        source.close()


def _work(job: dict[str, Any]) -> dict[str, Any]:
    Path(job["target"]).parent.mkdir(parents=True, exist_ok=True)
    return asdict(encode_file(job["path"], job["target"], Recipe(**job["recipe"])))


if __name__ == "__main__":
    serve(_work, sys.argv[1:])
