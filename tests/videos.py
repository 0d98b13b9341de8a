"""Write small real video files for the tests: every frame carries its own number, readable back."""

import hashlib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

ENCODED: dict[str, bytes] = {}  # what this process has encoded, by all that was asked for
BITS = 8  # the frame number is drawn as 8 black or white columns, robust against compression


def numbered_frames(count: int, height: int = 64, width: int = 64) -> np.ndarray:
    """uint8 (count, height, width, 3): frame i shows i in binary; the lower half moves."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    column = width // BITS
    for index in range(count):
        for bit in range(BITS):
            frames[index, : height // 2, bit * column : (bit + 1) * column] = (
                235 if index >> bit & 1 else 20
            )
        x = (index * 3) % (width - 8)
        frames[index, height // 2 + 8 : height // 2 + 16, x : x + 8] = (200, 60, 30)
    return frames


def read_number(frame: np.ndarray) -> int:
    """The number that ``numbered_frames`` drew into a frame (height, width, 3), at any size."""
    height, width = frame.shape[:2]
    row = frame[: height // 2].astype(float).mean(axis=(0, 2))
    column = width / BITS
    return sum(
        1 << bit
        for bit in range(BITS)
        if row[int((bit + 0.25) * column) : max(int((bit + 0.75) * column), 1)].mean() > 128
    )


def write_video(
    path: Path,
    frames: np.ndarray | int = 32,
    *,
    fps: int = 25,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    times: Iterable[int] | None = None,
    rotation: int = 0,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    """Encode frames (T, H, W, 3) uint8, or that many numbered; ``times`` are ticks of 1/fps s.

    The same video is encoded once per process, and then a copy.
    """
    if isinstance(frames, int):
        frames = numbered_frames(frames)
    ticks = list(times) if times is not None else list(range(len(frames)))
    asked = [path.suffix, frames.shape, fps, codec, pixel_format, options, ticks, times is None]
    words = repr([*asked, rotation, container_options, container_format]).encode()
    key = hashlib.sha256(words + np.ascontiguousarray(frames).tobytes()).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    if key in ENCODED:
        path.write_bytes(ENCODED[key])
        return path
    with av.open(
        str(path), "w", format=container_format, options=container_options or {}
    ) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        if times is not None:  # half a tick of time base would round variable rates
            stream.codec_context.time_base = Fraction(1, fps)
        if rotation:
            stream.set_display_rotation(rotation)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = pixel_format
        if not options:  # for small pictures threads cost more than they save
            stream.codec_context.thread_count = 1
        for array, tick in zip(frames, ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts = tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if path.stat().st_size < 1 << 20:
        ENCODED[key] = path.read_bytes()
    return path


def sequential_decode(path: Path, frames: list[np.ndarray] | None = None) -> list[np.ndarray]:
    """All frames of a file as PyAV gives them from the start, upright: the truth for reads.

    They are put into ``frames``, which holds those before the damage where decoding stops.
    """
    frames = [] if frames is None else frames
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            turns = frame.rotation // 90 % 4
            frames.append(np.rot90(frame.to_ndarray(format="rgb24"), turns))
    return frames


def write_timed(
    path: Path,
    seconds: Iterable[float],
    *,
    last: float = 0.0,
    sound: float = 0.0,
    codec: str = "libx264",
) -> Path:
    """Numbered frames that appear at these seconds, in ticks of a millisecond.

    Args:
        path: of the file.
        seconds: when each frame appears.
        last: how long the last one says that it stands; 0: as the encoder says.
        sound: seconds of silence that begin at 0.
        codec: of the pictures.
    """
    base = Fraction(1, 1000)
    moments = list(seconds)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = base
        if sound:
            voice = container.add_stream("aac", rate=48000, layout="mono")
            for start in range(0, int(sound * 48000), 960):
                silence = np.zeros((1, 960), np.float32)
                piece = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = 48000, start, Fraction(1, 48000)
                container.mux(voice.encode(piece))
            container.mux(voice.encode())
        packets = []
        for array, second in zip(numbered_frames(len(moments)), moments, strict=True):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = round(second / base), base
            packets += stream.encode(frame)
        packets += stream.encode()
        if last:
            max(packets, key=lambda packet: packet.pts).duration = round(last / base)
        container.mux(packets)
    return path
