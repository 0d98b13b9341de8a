"""Open what users pass as a video: a path, the bytes of a file, or frames in memory.

    with opened(array, fps=25) as video:        # uint8 (T, H, W, 3), RGB
        frames = video.read([0, 8, 16], short_side=256)

The bytes of a file are decoded exactly as the file is. Frames in memory are scaled by the scaler
that scales decoded ones; a file is scaled on its way from the colours it is stored in (mostly
YUV) to RGB. So the two agree to the bit where nothing has to be scaled or the file holds RGB, and
to a few grey levels at edges otherwise.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
import torch

from videonl.errors import VideoError
from videonl.limits import above
from videonl.video.decoding.pictures import Pictures, Scaling, Stack
from videonl.video.spool import Spool
from videonl.video.video import Video

RATE = above(0, 1000)  # frames per second
PIECE = 1 << 20  # bytes that are copied at a time
WANTED = "give uint8 (frames, height, width, 3), RGB, the colours last"


@dataclass(frozen=True)
class Frames:
    """Frames in memory with their rate; accepted wherever a video is.

    Attributes:
        frames: uint8 (T, H, W, 3), RGB, upright: an array, a tensor, or an iterable of pictures
            (H, W, 3). An iterable is read once and held in memory.
        fps: frames per second.
        name: what to call it in results and messages.
    """

    frames: Any
    fps: float
    name: str = "frames"


Given = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Frames | Any


def is_path(given: Given) -> bool:
    """Whether a value is the name of a file."""
    return isinstance(given, str | os.PathLike)


def is_stored(given: Given) -> bool:
    """Whether it is a file or its content, which has its own frame rate."""
    content = isinstance(given, bytes | bytearray | memoryview)
    return content or is_path(given) or hasattr(given, "read")


def rate_for(given: Given, fps: float | None) -> float | None:
    """``fps``, which applies to frames in memory; None for what has its own rate."""
    return None if is_stored(given) or isinstance(given, Frames) else fps


def name_of(given: Given) -> str:
    """What to call it in results and messages."""
    if isinstance(given, str | os.PathLike):
        return os.fspath(given)
    if isinstance(given, Frames):
        return given.name
    if isinstance(given, bytes | bytearray | memoryview):
        return "bytes"
    name = getattr(given, "name", None) if hasattr(given, "read") else "frames"
    return name if isinstance(name, str) and name else "file object"


@contextmanager
def opened(
    given: Given,
    *,
    fps: float | None,
    open_video: Callable[..., Video],
    decoder: str,
    forgiving: bool = False,
) -> Iterator[Video]:
    """Open whatever a user passes as a video.

    Args:
        given: a path; the bytes of a file; a binary file object, read from where it stands to its
            end; or :class:`Frames`, or what they hold, with ``fps``.
        fps: frames per second of frames in memory; None for everything else.
        open_video: opens a path.
        decoder: for it.
        forgiving: for it.

    Raises:
        VideoError: not a video; one sentence that says what came and what is accepted.
    """
    stored = is_stored(given)
    if fps is not None and rate_for(given, fps) is None:
        raise VideoError(
            f"{name_of(given)}: fps={fps} is only for frames in memory; this has its own rate"
        )
    options = {"decoder": decoder, "forgiving": forgiving}
    if is_path(given):
        with open_video(given, **options) as video:
            yield video
    elif stored:
        with (
            _as_file(given) as path,
            _named(path, name_of(given)),
            open_video(path, **options) as video,
        ):
            yield video
    else:
        held = given if isinstance(given, Frames) else Frames(given, fps)  # type: ignore[arg-type]
        with FrameVideo(held) as video:
            yield video


@contextmanager
def _as_file(given: Any) -> Iterator[str]:
    """A path that leads to the bytes; they are deleted after the block."""
    spool = Spool()
    try:
        with spool.new() as file:
            size = 0
            for piece in _pieces(given):
                size += file.handle.write(piece)
            file.handle.flush()
            if not size:
                raise VideoError(f"{name_of(given)}: it is empty (0 bytes are left to read)")
            yield file.path
    finally:
        spool.close()


def _pieces(given: Any) -> Iterator[bytes | bytearray | memoryview]:
    if not hasattr(given, "read"):
        yield given
        return
    while piece := given.read(PIECE):
        if isinstance(piece, str):
            raise VideoError(f"{name_of(given)}: it was opened as text; open it with mode 'rb'")
        yield piece


@contextmanager
def _named(path: str, name: str) -> Iterator[None]:
    """Replace the name of a temporary file in errors by the name that the user knows."""
    try:
        yield
    except VideoError as error:
        raise VideoError(str(error).replace(path, name)) from error


class FrameVideo(Video):
    """Frames in memory as a :class:`Video`."""

    def __init__(self, given: Frames) -> None:
        """Check the frames; no file is opened, so nothing of ``Video`` is set up.

        Raises:
            VideoError: wrong shape, type of numbers or layout, no frames, or no rate.
        """
        self.path = Path(given.name)
        self.damage: str | None = None
        self.forgiving, self.damaged = False, set()
        self.decoder = "none"
        self._held = frames_of(given.frames, name=given.name)
        if given.fps is None:
            raise VideoError(f"{given.name}: give their frames per second, such as fps=25")
        if not RATE.allows(given.fps):
            raise VideoError(f"{given.name}: fps={given.fps!r}: it must be {RATE}")
        self._rate = float(given.fps)
        self._pictures = Pictures(given.name)
        self.declared_frames = len(self._held)

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self._held)

    @property
    def exact_by(self) -> str:
        """``"memory"``: nothing has to be found."""
        return "memory"

    def _shape(self) -> tuple[int, int]:
        height, width, _ = self._held[0].shape
        return height, width

    @property
    def fps(self) -> float:
        """As given."""
        return self._rate

    @property
    def end(self) -> float:
        """Seconds at which the last one disappears."""
        return len(self._held) / self._rate

    def times(self, indices: Sequence[int] | None = None) -> np.ndarray:
        """Seconds at which frames appear; the first one at 0."""
        wanted = range(len(self._held)) if indices is None else self._checked(indices)
        return np.array(wanted, np.float64) / self._rate

    def _checked(self, indices: Sequence[int]) -> list[int]:
        wanted = [int(index) for index in indices]
        self._within(wanted, len(self._held))
        return wanted

    def _read(self, wanted: list[int], scale: Scaling) -> np.ndarray:
        stack = Stack(self._pictures, len(wanted), scale)
        for place, index in enumerate(wanted):
            picture = np.ascontiguousarray(self._held[index])
            stack.put(place, av.VideoFrame.from_ndarray(picture, "rgb24"))
        return stack.array()

    def close(self) -> None:
        """Drop the frames."""
        self._held = []


def frames_of(given: Any, *, name: str) -> Sequence[np.ndarray]:
    """The pictures, uint8 (H, W, 3) each and all of one size.

    Raises:
        VideoError: they are not frames.
    """
    if hasattr(given, "__array__"):
        frames = _array(given, name)
        _check(frames.shape, frames.dtype, name)
        return list(frames)
    if isinstance(given, dict | set) or not isinstance(given, Iterable):
        raise VideoError(
            f"{name}: a {type(given).__name__} is not a video; give a path, the bytes of a file, a "
            "binary file object, or frames: uint8 (frames, height, width, 3) with fps"
        )
    pictures: list[np.ndarray] = []
    for number, each in enumerate(given):
        if is_path(each):
            raise VideoError(f"{name}: several paths are not one video; use predict_many")
        picture = _array(each, f"{name}, number {number}")
        _check((1, *picture.shape), picture.dtype, f"{name}, number {number}")
        if pictures and picture.shape != pictures[0].shape:
            raise VideoError(
                f"{name}: picture {number} is {_size(picture.shape)}, the first is "
                f"{_size(pictures[0].shape)}; scale them to one size"
            )
        pictures.append(picture)
    if not pictures:
        raise VideoError(f"{name}: there are no frames")
    return pictures


def _array(given: Any, name: str) -> np.ndarray:
    if isinstance(given, torch.Tensor):
        plain = given if given.dtype == torch.uint8 else given.float()  # numpy lacks bfloat16
        return plain.detach().cpu().numpy()
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:
        raise VideoError(f"{name}: it is not an array of frames ({error}); {WANTED}") from error


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _check(shape: Sequence[int], kind: np.dtype[Any], name: str) -> None:
    """Refuse what is not uint8 (T, H, W, 3).

    Raises:
        VideoError: says what came and how to convert it.
    """
    if kind != np.uint8:
        hint = "; multiply by 255 and round" if kind.kind == "f" else ""
        raise VideoError(f"{name}: the values are {kind}, not uint8 from 0 to 255{hint}")
    hint = ""
    if len(shape) == 5:
        hint = "; give one video at a time (predict_many takes several)"
    elif len(shape) == 4 and shape[-1] != 3 and shape[1] == 3:
        hint = ": those are (T, 3, H, W); move axis 1 to the end"
    elif len(shape) == 4 and shape[-1] != 3 and shape[0] == 3:
        hint = ": those are (3, T, H, W); move axis 0 to the end"
    elif len(shape) == 4 and shape[-1] in (1, 4):
        hint = "; repeat grey three times, leave transparency out"
    elif len(shape) == 3 and shape[-1] == 3:
        hint = ": that is one picture; give one more axis for the frames"
    elif len(shape) == 1:
        hint = "; of the content of a file, give .tobytes()"
    if len(shape) != 4 or shape[-1] != 3 or hint:
        raise VideoError(f"{name}: the shape is {_size(shape)}{hint}; {WANTED}")
    if 0 in shape:
        raise VideoError(f"{name}: the shape is {_size(shape)}: there are no frames; {WANTED}")
