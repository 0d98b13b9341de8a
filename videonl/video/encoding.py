"""Re-encode one video for fast random access, as ``videonl prepare`` does.

Dense key frames and no B-frames: a clip starts at a key frame near it and nothing is decoded twice;
the fast-decode tuning leaves out what is slow to decode (CABAC, the loop filter).
"""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, VideoReformatter

from videonl.errors import OutputError, VideoError
from videonl.files import whole_file
from videonl.shares import counted
from videonl.video.clock import begin_of
from videonl.video.decoding.container import open_source, reason
from videonl.video.decoding.pictures import orientation, plane_rows, upright

LOOK_EVERY = 50  # frames from one that is compared to the next
LARGEST_DIFFERENCE = 16  # grey levels of 255, mean over blocks: coarse encoding stays far below


@dataclass(frozen=True)
class Recipe:
    """How to encode.

    Attributes:
        short_side: pixels of the shorter side; smaller videos keep their size.
        key_frames: frames from one key frame to the next.
        quality: H.264's constant rate factor; lower is better and larger.
        preset: x264's speed of encoding.
        enlarge: scale smaller videos up, too.
    """

    short_side: int = 256
    key_frames: int = 8
    quality: int = 23
    preset: str = "fast"
    enlarge: bool = False


@dataclass
class Encoded:
    """Result for a file: ``frames`` written, or ``error``; ``output``: writing was what failed."""

    frames: int = 0
    error: str = ""
    output: bool = False


def encode_file(source: str | Path, target: str | Path, recipe: Recipe = Recipe()) -> Encoded:
    """Re-encode ``source`` to the MP4 file ``target``, verify it, and only then rename it.

    All frames are kept with their times, upright; sound is dropped. A source that does not decode
    to its end is refused.
    """
    try:
        with whole_file(target) as part:
            try:
                proof = _encode(Path(source), part, recipe)
            except NoTimes:
                proof = _encode(Path(source), part, recipe, nominal=True)
            _verify(part, proof, target)
    except OutputError as error:
        return Encoded(error=str(error), output=True)
    except (VideoError, av.FFmpegError, OSError) as error:
        text = str(error) if isinstance(error, VideoError) else reason(error)
        return Encoded(error=text.removeprefix(f"{source}: "))
    return Encoded(frames=len(proof.seconds))


@dataclass
class _Proof:
    """What the written file must contain: every frame's time, and the look of some frames."""

    seconds: list[float] = field(default_factory=list)
    looks: dict[int, np.ndarray] = field(default_factory=dict)

    def add(self, picture: Any) -> None:
        if len(self.seconds) % LOOK_EVERY == 0:
            self.looks[len(self.seconds)] = _look(picture)
        self.seconds.append(float(picture.pts * picture.time_base))


class NoTimes(Exception):
    """Times are missing or do not increase, so only the nominal rate is known (as for a Video)."""


def _encode(source: Path, target: Path, recipe: Recipe, *, nominal: bool = False) -> _Proof:
    reader = open_source(source)
    proof = _Proof()
    times: list[int] = []
    begin = 0
    held = 0  # ticks for which the last frame says that it stands
    rate = Fraction(reader.declared_rate or 25)
    base = 1 / rate if nominal else reader.stream.time_base or Fraction(1, 90000)
    try:
        with av.open(f"file:{target.absolute()}", "w", format="mp4") as writer:
            writer_stream: Any = None
            scaler = _Scaler(recipe)
            for frame in reader.container.decode(reader.stream):
                if frame.is_corrupt:
                    raise VideoError(f"{source}: frame {len(proof.seconds)} is damaged")
                picture = scaler(frame)
                if writer_stream is None:
                    writer_stream = _stream(writer, rate, picture, recipe, base)
                    for name in ("color_trc", "color_primaries"):  # tell a high dynamic range
                        value = getattr(reader.stream.codec_context, name)
                        setattr(writer_stream.codec_context, name, value)
                time = len(times) if nominal else frame.pts
                if time is None or (times and time <= times[-1]):
                    raise NoTimes
                times.append(time)
                if len(times) == 1 and not nominal:  # on the clock of a player, from 0
                    begin = round(begin_of(reader, time) / base)
                picture.pts, picture.time_base = time - begin, base
                held = 0 if nominal else frame.duration or 0
                picture.pict_type = PictureType.NONE  # else x264 repeats the source's key frames
                proof.add(picture)
                writer.mux(writer_stream.encode(picture))
            if writer_stream is None:
                raise VideoError(f"{source}: no frame can be decoded")
            write_rest(writer, writer_stream, held * base)
    finally:
        reader.close()
    return proof


def write_rest(writer: Any, stream: Any, held: Fraction) -> None:
    """Write what the encoder of a stream still holds, behind its last picture.

    Args:
        writer: the open container.
        stream: of it.
        held: seconds for which the last picture is shown, 0 where nothing tells.
    """
    rest = stream.encode()
    if rest and held:  # it may stand for long; the others end with the next
        rest[-1].duration = max(rest[-1].duration or 0, round(held / rest[-1].time_base))
    writer.mux(rest)


def _stream(writer: Any, rate: Fraction, picture: Any, recipe: Recipe, base: Fraction) -> Any:
    stream = writer.add_stream("libx264", rate=rate)
    stream.width, stream.height = picture.width, picture.height
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = base
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

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.size: tuple[int, int] | None = None
        self.reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> Any:
        if self.size is None:
            factor = self.recipe.short_side / min(frame.width, frame.height)
            factor = factor if self.recipe.enlarge else min(1.0, factor)
            self.size = (_even(frame.width * factor), _even(frame.height * factor))
        width, height = self.size
        picture = self.reformatter.reformat(
            frame, width, height, "yuv420p", dst_color_range=ColorRange.MPEG
        )
        place = orientation(frame)
        if place is None:
            return picture
        size = (height, width) if place[0] else (width, height)
        turned = av.VideoFrame(*size, "yuv420p")
        turned.colorspace, turned.color_range = picture.colorspace, picture.color_range
        for source, target in zip(picture.planes, turned.planes, strict=True):
            rows = upright(plane_rows(source)[:, : source.width], frame)
            plane_rows(target)[:, : target.width] = rows
        return turned


def _even(size: float) -> int:
    return max(2, 2 * round(size / 2))


def _look(picture: Any) -> np.ndarray:
    """Mean brightness of the blocks of a yuv420p frame, float (about 8, about 8)."""
    rows = plane_rows(picture.planes[0])
    size = max(1, min(picture.height, picture.width) // 8)
    down, across = picture.height // size, picture.width // size
    blocks = rows[: down * size, : across * size].reshape(down, size, across, size)
    looks: np.ndarray = blocks.mean(axis=(1, 3))
    return looks


def _verify(written: Path, proof: _Proof, target: str | Path) -> None:
    """Decode a written file to its end and compare it with its source.

    Raises:
        VideoError: frames are missing, shown at other times, or look different.
    """
    source = open_source(written)
    seconds = []
    try:
        for number, frame in enumerate(source.container.decode(source.stream)):
            seconds.append(float(frame.pts * source.stream.time_base))
            look = proof.looks.get(number)
            if look is not None and np.abs(_look(frame) - look).mean() > LARGEST_DIFFERENCE:
                raise VideoError(f"{target}: verification failed: frame {number} looks different")
    finally:
        source.close()
    if len(seconds) != len(proof.seconds):
        raise VideoError(
            f"{target}: verification failed: {len(seconds)} of "
            f"{counted(len(proof.seconds), 'frame')} decode"
        )
    shift = np.subtract(seconds, seconds[0]) - np.subtract(proof.seconds, proof.seconds[0])
    if np.abs(shift).max() > 1e-3:
        raise VideoError(f"{target}: verification failed: frames are shown at other times")
