"""Frames as they come: a camera, an HTTP stream, or a file played in real time.

Nothing is queued. One buffer holds the newest frames that a clip covers, of a long span not all of
them; a new frame replaces the oldest. A request gets the clip that ends with the newest frame,
sampled by time, so a slow network sees fewer clips, never older ones.
The file is long because source, buffer and overlay work together: each passes on what is newest,
and none may wait for another.
"""

import math
import os
import re
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np

from videonl.errors import VideoError
from videonl.video.burn import Canvas, PictureWriter
from videonl.video.captions import Row, lay
from videonl.video.clock import nominal_rate
from videonl.video.decoding.container import (
    FORMATS,
    MAX_PIXELS,
    Source,
    open_source,
    reason,
    split_span,
    why_not_opened,
)
from videonl.video.decoding.pictures import Pictures
from videonl.video.preprocessing import SENSIBLE_RATES, Preprocessing

STALL_SECONDS = 10.0  # without a frame, and the source is given up
LARGEST_STEP = 10.0  # seconds from one frame to the next; more is a jump of the stream's clock
UNKNOWN_SECONDS = 3.0  # that a clip covers which is spread over a video, if the training says none
MOST_HELD = 512  # frames, or 8 times those of a clip: of a longer span, some between are left out
BEHIND = 0.5  # seconds: a file decoded so late leaves out pictures on which no other leans
CAMERAS = {"linux": "v4l2", "darwin": "avfoundation"}


class Clock:
    """The clock of the machine; tests have another one."""

    def now(self) -> float:
        """Seconds since any fixed moment; never decreases."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True)
class LiveSource:
    """Where frames come from.

    Attributes:
        name: to be shown: an address without its password.
        kind: "camera", "stream" or "file".
        opened: the container and its video stream.
    """

    name: str
    kind: str
    opened: Source

    @property
    def rate(self) -> float:
        """Frames per second as the source states, or 25."""
        rate = nominal_rate(self.opened)
        return rate if SENSIBLE_RATES[0] <= rate <= SENSIBLE_RATES[1] else 25.0


def shown_name(source: str) -> str:
    """An address without user, password and query; a file as it is."""
    if "://" not in source:
        return source
    return re.sub(r"(?<=://)[^/@]*@", "", source.partition("?")[0])


def open_live(source: str, *, allow_stream: bool = False) -> LiveSource:
    """Open a camera, an HTTP stream or a file.

    Args:
        source: ``"0"``, ``"/dev/video0"``, ``"http://..."``, or a regular file.
        allow_stream: whether an address may be opened.

    Raises:
        VideoError: it cannot be opened, or is none of these.
    """
    name = shown_name(source)
    if "://" in source:
        scheme = urlsplit(source).scheme.lower()
        if scheme not in ("http", "https"):
            raise VideoError(f"{name}: only http and https addresses are read, not {scheme}")
        if not allow_stream:
            raise VideoError(f"{name}: an address is opened only with --allow-stream")
        return LiveSource(name, "stream", _open_stream(source, name))
    if source.isdecimal() or _is_device(source):
        return LiveSource(name, "camera", _open_camera(source))
    if split_span(source)[1] is not None:
        raise VideoError(f"{name}: a part of a file cannot be played; leave out what follows the #")
    return LiveSource(name, "file", open_source(source))


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return path.startswith("/dev/video")


def _open_camera(source: str) -> Source:
    layout = next((name for key, name in CAMERAS.items() if sys.platform.startswith(key)), None)
    if layout is None:
        raise VideoError(f"camera {source}: cameras are read only on Linux and macOS")
    device = f"/dev/video{source}" if source.isdecimal() and layout == "v4l2" else source
    try:
        container = av.open(device, format=layout)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(
            f"{device}: this camera cannot be opened ({reason(error)}); check that it is "
            "connected, not in use, and that you have permission to read it"
        ) from error
    return _source(container, device)


def _open_stream(address: str, name: str) -> Source:
    options = {
        "protocol_whitelist": "http,https,tcp,tls",
        "format_whitelist": ",".join((*FORMATS, "mpjpeg", "mjpeg")),
        "max_streams": "64",
    }
    try:
        container = av.open(
            address,
            options=options,
            timeout=(STALL_SECONDS, STALL_SECONDS),
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        stalled = isinstance(error, av.error.ExitError)
        why = f"no data for {STALL_SECONDS:g} s" if stalled else why_not_opened(error)
        raise VideoError(f"{name}: this stream cannot be opened ({why})") from error
    return _source(container, name)


def _source(container: Any, name: str) -> Source:
    stream = next(iter(container.streams.video), None)
    if stream is None or stream.codec_context is None:
        container.close()
        raise VideoError(f"{name}: it has no video stream that can be decoded")
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    stream.codec_context.thread_count = 1
    return Source(Path(name), container, stream, 1)


class Ended(Exception):
    """No more frames come; the text states the reason.

    Attributes:
        failed: the source should not have ended.
    """

    def __init__(self, why: str, *, failed: bool) -> None:
        super().__init__(why)
        self.failed = failed


class StreamClock:
    """The time of every frame: the stream's; where that is missing or jumps, the time of arrival.

    Args:
        base: seconds per tick.
        clock: gives the time of arrival.
        step: seconds per frame of a file, whose frames arrive as they are decoded; None: live.
    """

    def __init__(self, base: Fraction, clock: Clock, *, step: float | None) -> None:
        self._base, self._clock, self._step = base, clock, step
        self._offset: float | None = None
        self._last: float | None = None
        self._arrived = 0.0

    def second(self, pts: int | None) -> float:
        """Seconds from the first frame; increasing."""
        now = self._clock.now()
        stamp = None if pts is None else float(pts * self._base)
        if self._last is None:
            found = 0.0
            self._offset = None if stamp is None else -stamp
        else:
            passed = self._step or min(max(now - self._arrived, 1e-3), LARGEST_STEP)
            most = math.inf if self._step else LARGEST_STEP
            found = self._last + passed
            if stamp is not None and self._offset is not None:
                told = stamp + self._offset
                found = told if self._last < told < self._last + most else found
            if stamp is not None and (self._offset is None or not self._step):
                self._offset = found - stamp  # a file's clock does not jump, it only stumbles
        self._last, self._arrived = found, now
        return found


def played(source: LiveSource, clock: Clock) -> Iterator[tuple[float, Any]]:
    """(seconds, decoded frame) as they come; a file is played at its own speed.

    Raises:
        Ended: there are no more, always.
    """
    stream = source.opened.stream
    base = Fraction(stream.time_base or Fraction(1, 90000))
    seconds = StreamClock(base, clock, step=1 / source.rate if source.kind == "file" else None)
    size: tuple[int, int] | None = None
    begin: float | None = None
    for frame in _decoded(source):
        if size is None:
            size = (frame.width, frame.height)
        elif size != (frame.width, frame.height):
            raise Ended(
                f"the size of its pictures changed from {size[0]}x{size[1]} to "
                f"{frame.width}x{frame.height}",
                failed=True,
            )
        second = seconds.second(frame.pts)
        if source.kind == "file":
            begin = clock.now() - second if begin is None else begin
            wait = begin + second - clock.now()
            if wait > 0:
                clock.sleep(wait)
            if source.opened.codec != "av1":  # see packet_decoder.py
                stream.codec_context.skip_frame = "NONREF" if wait < -BEHIND else "DEFAULT"
        if not frame.is_corrupt:  # such as those before the first key frame of a stream
            yield second, frame
    raise Ended("it has ended", failed=False)


def _decoded(source: LiveSource) -> Iterator[Any]:
    try:
        for packet in source.opened.container.demux(source.opened.stream):
            with suppress(av.error.InvalidDataError):  # a damaged packet shows nothing
                yield from packet.decode()
    except av.error.ExitError:
        raise Ended(f"it stalled: no frame for {STALL_SECONDS:g} s", failed=True) from None
    except av.error.EOFError:
        return
    except (av.FFmpegError, OSError) as error:
        raise Ended(f"it has ended ({reason(error)})", failed=False) from error


@dataclass(frozen=True)
class LiveClip:
    """The clip that ends with the newest frame.

    Attributes:
        frames: uint8 (T, H, W, 3).
        start: seconds of its first frame.
        end: seconds of its last.
        age: seconds since its last frame came.
    """

    frames: np.ndarray
    start: float
    end: float
    age: float


class Newest:
    """The buffer of the newest frames; one thread adds frames, another one takes clips.

    Args:
        preprocessing: what the network is shown.
        rate: frames per second of the source, where the preprocessing counts frames.
        clock: dates the frames.
        name: of the source, for messages.

    Attributes:
        seen: frames that arrived.
        missed: those of them that left the buffer before a clip covered them.
    """

    def __init__(
        self, preprocessing: Preprocessing, *, rate: float, clock: Clock, name: str
    ) -> None:
        fps = preprocessing.fps or preprocessing.rate or rate
        self.shown = preprocessing.with_views((1, 1))
        most = 8 * preprocessing.frames
        if preprocessing.sampling == "segments":  # spread over as long as the training's videos
            self.span = preprocessing.duration or UNKNOWN_SECONDS
        else:
            self.shown = self.shown.changed(fps=fps, rate=None)
            self.span = float(self.shown.clip_length) / fps
            most = max(most, MOST_HELD)
        self._apart = self.span / most  # seconds between two frames that are held, at least
        self._step = 1 / rate
        self._clock = clock
        self._pictures = Pictures(name)
        self._held: deque[tuple[float, np.ndarray]] = deque()
        self._taken = False  # whether there was a clip
        self._fresh = 0  # frames of the buffer that no clip has covered yet
        self._arrived = clock.now()
        self.seen = self.missed = 0
        self._changed = threading.Condition()
        self._end: Ended | None = None

    def put(self, second: float, frame: Any) -> None:
        """Add a decoded frame."""
        picture = self._pictures.array(frame, self.shown.scaling)
        cut = _cut(picture, self.shown.boxes(*picture.shape[:2])[0], self.shown.padding)
        with self._changed:
            self.seen += 1
            held = self._held
            if len(held) > 1 and held[-1][0] - held[-2][0] < self._apart:
                held[-1] = (second, cut)
                self._fresh = max(self._fresh, 1)
            else:
                held.append((second, cut))
                self._fresh += 1
            while second - self._held[0][0] > self.span and second - self._held[1][0] >= self.span:
                self._held.popleft()
            if self._fresh > len(self._held):
                self.missed += self._fresh - len(self._held)
                self._fresh = len(self._held)
            self._arrived = self._clock.now()
            self._changed.notify_all()

    def finish(self, end: Ended) -> None:
        """Mark the end: no more frames come."""
        with self._changed:
            self._end = end
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, wait: float) -> LiveClip | None:
        """The current clip if frames came since the last one; None if ``wait`` seconds pass.

        A source that ends before it has shown a clip's span gives one short clip.

        Raises:
            Ended: there will be no more.
        """
        with self._changed:
            self._changed.wait_for(self._is_ready, wait)
            if not self._is_ready():
                if self._end is None and self._clock.now() - self._arrived >= STALL_SECONDS:
                    self._end = Ended(f"it stalled: no frame for {STALL_SECONDS:g} s", failed=True)
                if self._end is not None:
                    raise self._end
                return None
            held, self._fresh, self._taken = list(self._held), 0, True
            age = self._clock.now() - self._arrived
        times = np.array([second for second, _ in held])
        end = float(times[-1]) + self._step
        if self.shown.sampling == "segments":
            (clip,) = self.shown.indices(len(times))
        else:
            clip = self.shown.indices_from(end, times=times, end=end)
        frames = np.stack([held[index][1] for index in clip])
        return LiveClip(frames, float(times[min(clip)]), float(times[-1]), age)

    def _is_ready(self) -> bool:
        if not self._fresh:
            return False
        covered = self._held[-1][0] - self._held[0][0] + self._step
        full = covered >= self.span - 1e-3
        first = not self._taken
        return full or (self._end is not None and first)


def _cut(
    picture: np.ndarray, box: tuple[int, int, int, int], padding: tuple[int, ...] | None
) -> np.ndarray:
    """A copy of the part of a picture; ``transforms.crop`` without torch."""
    top, left, height, width = box
    inner = picture[max(top, 0) : top + height, max(left, 0) : left + width]
    if padding is None:
        return inner.copy()
    whole = np.empty((height, width, 3), np.uint8)
    whole[:] = padding
    y, x = max(-top, 0), max(-left, 0)
    whole[y : y + inner.shape[0], x : x + inner.shape[1]] = inner
    return whole


class LiveReader:
    """Reads a source in a thread, and writes its overlay, if there is one.

    Args:
        source: an open one; it is closed in the end.
        preprocessing: what the network is shown.
        overlay: an MP4 file of the frames with captions; frames that come while one is encoded
            are left out.
    """

    def __init__(
        self, source: LiveSource, preprocessing: Preprocessing, *, overlay: Path | None = None
    ) -> None:
        self._source, self._clock = source, Clock()
        self.newest = Newest(preprocessing, rate=source.rate, clock=self._clock, name=source.name)
        self._overlay = None if overlay is None else LiveOverlay(overlay, Fraction(source.rate))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="live", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for second, frame in played(self._source, self._clock):
                if self._stopped.is_set():
                    raise Ended("it was stopped", failed=False)
                self.newest.put(second, frame)
                if self._overlay is not None:
                    self._overlay.offer(second, frame)
        except Ended as end:
            self.newest.finish(end)
        except Exception as error:  # told by whoever asks for the next clip
            self.newest.finish(Ended(f"it cannot be decoded ({reason(error)})", failed=True))

    def take(self, wait: float) -> LiveClip | None:
        """See :meth:`Newest.take`."""
        return self.newest.take(wait)

    def counts(self) -> dict[str, int]:
        """Numbers of frames that arrived, and of those that no clip covered."""
        return {"seen": self.newest.seen, "missed": self.newest.missed}

    def caption(self, rows: tuple[Row, ...]) -> None:
        """Set what the overlay shows from now on."""
        if self._overlay is not None:
            self._overlay.rows = rows

    def close(self) -> None:
        """Stop reading and finish the overlay.

        Raises:
            VideoError: the overlay cannot be written.
        """
        self._stopped.set()
        self._thread.join(timeout=1.0)
        if not self._thread.is_alive():  # else a camera hangs in its driver
            self._source.opened.close()
        if self._overlay is not None:
            self._overlay.close()


class LiveOverlay:
    """Writes the newest frame, again and again, in a thread of its own."""

    def __init__(self, target: Path, rate: Fraction) -> None:
        self._target, self._rate = target, rate.limit_denominator(1001)
        self.rows: tuple[Row, ...] = ()
        self._slot: tuple[float, Any] | None = None
        self._changed = threading.Condition()
        self._over = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="overlay", daemon=True)
        self._thread.start()

    def offer(self, second: float, frame: Any) -> None:
        """Replace the frame that waits to be written."""
        with self._changed:
            self._slot = (second, frame)
            self._changed.notify_all()

    def _frames(self) -> Iterator[tuple[float, Any]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slot is not None or self._over)
                if self._slot is None:
                    return
                slot, self._slot = self._slot, None
            yield slot

    def _write(self) -> None:
        writer: PictureWriter | None = None
        try:
            canvas = Canvas()
            for second, frame in self._frames():
                picture = canvas.picture(frame)
                if writer is None:
                    size, base = picture.shape[:2], Fraction(1, 90000)
                    writer = PictureWriter(self._target, size, rate=self._rate, base=base)
                if self.rows:
                    lay(picture, self.rows)
                writer.add(picture, Fraction(second).limit_denominator(90000))
        except BaseException as error:
            self._error = error
        finally:
            if writer is not None:
                try:
                    writer.close()
                except (av.FFmpegError, OSError) as error:
                    self._error = self._error or error

    def close(self) -> None:
        """Write the waiting frame and the end of the file.

        Raises:
            VideoError: something cannot be written.
        """
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join()
        if self._error is not None:
            raise VideoError(f"the overlay cannot be written ({reason(self._error)})")
