"""Write a video again with captions burnt in: the same frames, times and sound.

Frames are decoded, drawn on and encoded one after the other, so memory does not grow with the
length. Packets of sound are copied; only sound that MP4 cannot hold is encoded again.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.stream import Discard
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from videonl.errors import VideoError
from videonl.video.captions import Caption, Painter, enlarged
from videonl.video.clock import begin_of, nominal_rate
from videonl.video.decoding.container import Source, open_source, reason
from videonl.video.decoding.pictures import orientation, upright
from videonl.video.encoding import NoTimes, write_rest

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)
COARSE = 65535  # ticks per second that MPEG-4's header holds


class PictureWriter:
    """Encodes pictures, each with its time, to an MP4 file.

    Args:
        target: the file.
        size: (height, width), even.
        rate: frames per second, for the header.
        base: seconds per tick.
    """

    def __init__(
        self, target: Path, size: Sequence[int], *, rate: Fraction, base: Fraction
    ) -> None:
        self.container = av.open(f"file:{target.absolute()}", "w", format="mp4")
        # Never AV1: its encoder takes a real-time scheduler.
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        stream = cast(Any, self.container.add_stream(codec, rate=rate))
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        self._stream = stream
        if codec == "mpeg4" and base.denominator > COARSE:
            base = Fraction(1, 30000)
        context = stream.codec_context
        context.time_base = self._base = base
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.ITU709 if size[0] >= 720 else Colorspace.ITU601
        self._colours = context.colorspace
        if codec == "libx264":
            context.options = {"preset": "veryfast", "crf": "20", "x264-params": "bframes=0"}
        else:
            context.bit_rate = max(200_000, int(size[0] * size[1] * min(float(rate), 60.0) / 5))
        self._scaler = VideoReformatter()
        self._last: int | None = None

    def add(self, picture: np.ndarray, time: Fraction) -> None:
        """Encode a picture, uint8 (height, width, 3), that appears at so many seconds."""
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        coded = self._scaler.reformat(
            frame, format="yuv420p", dst_colorspace=self._colours, dst_color_range=ColorRange.MPEG
        )
        ticks = round(time / self._base)
        if self._last is not None:
            ticks = max(ticks, self._last + 1)
        coded.pts, coded.time_base, self._last = ticks, self._base, None
        self.container.mux(self._stream.encode(coded))
        self._last = ticks  # only now: after an error FFmpeg dies of the next packet

    def close(self, *, held: Fraction = Fraction(0)) -> None:
        """Write what is left; ``held``: seconds that the last picture is shown, if known."""
        try:
            if self._last is not None:
                write_rest(self.container, self._stream, held)
        finally:
            self.container.close()


class Canvas:
    """Decoded frames of one video as upright pictures to draw on, all of the first one's size."""

    def __init__(self) -> None:
        self._size: tuple[int, int] | None = None
        self._scaler = VideoReformatter()

    def picture(self, frame: Any) -> np.ndarray:
        """A frame as uint8 (height, width, 3), RGB."""
        place = orientation(frame)
        turned = place is not None and place[0]
        if self._size is None:
            shape = (frame.width, frame.height) if turned else (frame.height, frame.width)
            self._size = enlarged(*shape)
        height, width = self._size[::-1] if turned else self._size
        rgb = self._scaler.reformat(frame, width, height, "rgb24").to_ndarray()
        return np.ascontiguousarray(upright(rgb, frame))


class Burner:
    """Writes one file; :meth:`step` does some of it at a time.

    Args:
        path: the video.
        target: the MP4 file.
        captions: what is shown when.

    Raises:
        VideoError: the file cannot be read.

    Attributes:
        done: frames written.
        total: frames that the header declares, 0 if it does not say.
    """

    def __init__(self, path: Path, target: Path, captions: Sequence[Caption]) -> None:
        self._path, self._target, self._captions = path, target, captions
        self._source: Source | None = None
        self._begin(nominal=False)

    def _begin(self, *, nominal: bool) -> None:
        self.close()
        self._nominal = nominal
        self._source = open_source(self._path)
        self._painter = Painter(self._captions)
        self._writer: PictureWriter | None = None
        self._sounds: dict[int, Sound] = {}
        self._canvas = Canvas()
        self._zero = Fraction(0)  # of the container's time line, where a player's clock is at 0
        self._before: int | None = None
        self._held = Fraction(0)
        self.done = 0
        stream = self._source.stream
        length = float(stream.duration * stream.time_base) if stream.duration else 0.0
        self.total = int(stream.frames) or round(length * nominal_rate(self._source))
        for other in self._source.container.streams.audio:
            other.discard = Discard.default
        self._pictures = self._frames(self._source)

    def step(self, frames: int) -> bool:
        """Write some more frames; returns whether the file is complete.

        Raises:
            VideoError: no frame can be decoded, or the encoder fails.
        """
        try:
            for _ in range(frames):
                frame = next(self._pictures, None)
                if frame is None:
                    return self._finish()
                self._add(frame)
        except NoTimes:
            self._begin(nominal=True)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, VideoError | MemoryError):
                raise
            text = f"{self._path}: no copy with captions can be written ({reason(error)})"
            raise VideoError(text) from error
        return False

    def _frames(self, source: Source) -> Iterator[Any]:
        """The decoded frames; sound between them is copied on the way."""
        streams = [source.stream, *source.container.streams.audio]
        early: list[Any] = []  # sound before the first picture, which opens the file
        try:
            for packet in source.container.demux(*streams):
                if packet.stream.type == "audio":
                    early.append(packet)
                    if self._writer is not None or len(early) > 4096:
                        self._pass_on(early)
                    continue
                try:
                    yield from packet.decode()
                except av.error.InvalidDataError:
                    continue  # a damaged packet shows nothing
        except (av.FFmpegError, OSError) as error:
            if isinstance(error, MemoryError) or not self.done:
                raise
        self._pass_on(early)

    def _pass_on(self, packets: list[Any]) -> None:
        for packet in packets if self._writer is not None else []:
            sound = self._sounds.get(packet.stream.index)
            if sound is not None:
                sound.add(packet)
        packets.clear()

    def _add(self, frame: Any) -> None:
        assert self._source is not None
        base = Fraction(self._source.stream.time_base or Fraction(1, 90000))
        if self._nominal:
            time = Fraction(self.done) / _rate(self._source)
        else:
            if frame.pts is None or (self._before is not None and frame.pts <= self._before):
                raise NoTimes
            self._before = frame.pts
            if not self.done:
                self._zero = begin_of(self._source, frame.pts)
            time = frame.pts * base - self._zero
            self._held = (frame.duration or 0) * base
        picture = self._canvas.picture(frame)
        writer = self._writer or self._open(self._source, picture.shape[:2], base)
        self._painter.paint(picture, float(time))
        writer.add(picture, time)
        self.done += 1

    def _open(self, source: Source, size: Sequence[int], base: Fraction) -> PictureWriter:
        rate = _rate(source)
        base = 1 / rate if self._nominal else base
        self._writer = writer = PictureWriter(self._target, size, rate=rate, base=base)
        for stream in source.container.streams.audio:
            if stream.codec_context is not None:
                self._sounds[stream.index] = Sound(writer.container, stream, self._zero)
        return writer

    def _finish(self) -> bool:
        if self._writer is None:
            raise VideoError(f"{self._path}: no frame can be decoded")
        for sound in self._sounds.values():
            sound.close()
        writer, self._writer = self._writer, None
        writer.close(held=self._held)
        self.total = self.done
        return True

    def close(self) -> None:
        """Close the files."""
        if self._source is not None:
            if self._writer is not None:
                self._writer.container.close()
            self._source.close()
            self._source = None


def _rate(source: Source) -> Fraction:
    return Fraction(nominal_rate(source)).limit_denominator(1001)


class Sound:
    """One sound track: its packets are copied; what MP4 cannot hold is encoded as AAC.

    Args:
        container: the file that is written.
        stream: of the original.
        zero: seconds of its time line at which a player's clock is at 0.
    """

    def __init__(self, container: Any, stream: Any, zero: Fraction) -> None:
        self._container, self._zero = container, zero
        self._before: int | None = None
        self._resampler: Any = None
        name = stream.codec_context.codec.canonical_name
        if name in container.supported_codecs:
            self._stream = container.add_stream_from_template(stream)
            return
        rate = stream.codec_context.sample_rate
        rate = rate if rate in AAC_RATES else 48000
        layout = "mono" if stream.codec_context.layout.nb_channels == 1 else "stereo"
        self._stream = container.add_stream("aac", rate=rate, layout=layout)
        self._resampler = av.AudioResampler("fltp", layout, rate, frame_size=1024)

    def add(self, packet: Any) -> None:
        """Add a packet; one that is earlier than the packet before it is left out."""
        if self._resampler is not None:
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                return
            for frame in frames:
                self._encode(frame)
            return
        time = packet.pts if packet.dts is None else packet.dts
        if not packet.size or time is None or (self._before is not None and time <= self._before):
            return
        self._before = time
        ticks = round(self._zero / packet.time_base)
        packet.pts = (time if packet.pts is None else packet.pts) - ticks
        packet.dts = time - ticks
        packet.stream = self._stream
        self._container.mux(packet)

    def _encode(self, frame: Any) -> None:
        if frame is not None and frame.pts is not None:
            frame.pts -= round(self._zero / frame.time_base)
        for piece in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(piece))

    def close(self) -> None:
        """Flush the encoder."""
        if self._resampler is not None:
            self._encode(None)
            self._container.mux(self._stream.encode(None))
