"""Decode in processes that can be killed: ``open_video`` with limits of time and memory.

    with DecoderPool(time_limit=60) as pool, pool.open("stranger.mp4") as video:
        frames = video.read([0, 8, 16], short_side=256)

Hostile or damaged video files can crash FFmpeg's decoders, keep them busy for ever or take all
memory. Here such a file costs a child process and one :class:`VideoError`; the frames of every
other file are those of :func:`videonl.video.video.open_video`, sent through a pipe.
"""

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from videonl.errors import VideoError, VideoNLError
from videonl.video.decoding.pictures import Scaling
from videonl.video.sandbox.process import Child, ChildGoneError
from videonl.video.video import Decoder, Video

if TYPE_CHECKING:
    import torch

TIME_LIMIT = 300.0  # seconds of decoding per file
MEMORY_MB = 4096  # 8K H.264 with 16 reference frames takes half of it
FILES_PER_PROCESS = 1000  # then a fresh one, should a decoder leak


class DecoderPool:
    """Long-lived decoding processes; may be used from several threads at once.

    Each open video has a process of its own, so there are as many as videos open at a time; up to
    ``keep`` of them wait for the next file.

    Args:
        keep: processes kept for the next files.
        time_limit: seconds from opening a file to its first frames, and from each read to the
            next; 0: no limit.
        memory_mb: memory that decoding may take; 0: no limit. Without effect on Windows and macOS.

    Raises:
        VideoNLError: a negative limit.
    """

    def __init__(
        self, *, keep: int = 1, time_limit: float = TIME_LIMIT, memory_mb: int = MEMORY_MB
    ) -> None:
        if keep < 0 or time_limit < 0 or memory_mb < 0:
            raise VideoNLError("keep, time_limit and memory_mb must not be negative")
        self.keep, self.time_limit, self.memory_mb = keep, time_limit, memory_mb
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._finalizer = weakref.finalize(self, _kill_all, self._all)  # also at the end of Python

    def start(self, number: int = 1) -> None:
        """Start processes now, so that the first files do not wait a third of a second for it."""
        for _ in range(number):
            self._give_back(self._new())

    def open(
        self,
        path: str | os.PathLike[str],
        *,
        decoder: Decoder = "auto",
        forgiving: bool = False,
        started: "Callable[[SandboxedVideo], None] | None" = None,
    ) -> "SandboxedVideo":
        """Open a video file as ``open_video`` does, in a process of its own.

        Args:
            path: a regular file.
            decoder: see ``open_video``.
            forgiving: see ``open_video``.
            started: called with the video before its file is opened, for
                :meth:`SandboxedVideo.cancel`.

        Raises:
            VideoError: as of ``open_video``; or the file exceeded a limit or crashed its decoder.
            VideoNLError: the pool is closed, or no process can be started.
        """
        video = SandboxedVideo(self, self._take(), path)
        try:
            if started:
                started(video)
            video._open(decoder, forgiving=forgiving)
        except BaseException:
            video.close()
            raise
        return video

    def close(self) -> None:
        """End all processes; videos still open fail."""
        self._closed = True
        self._finalizer()

    def __enter__(self) -> "DecoderPool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _new(self) -> Child:
        child = Child(self.memory_mb)
        with self._lock:
            self._all.add(child)
        if self._closed:
            self._drop(child)
        return child

    def _take(self) -> Child:
        if self._closed:
            raise VideoNLError("this DecoderPool is closed")
        while True:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            if child is None:
                child = self._new()
            elif not child.alive:  # somebody else ended it while it waited
                self._drop(child)
                continue
            child.wait_until_ready()
            return child

    def _give_back(self, child: Child) -> None:
        with self._lock:
            keep = child.alive and child.files < FILES_PER_PROCESS and len(self._idle) < self.keep
            if keep and not self._closed:
                self._idle.append(child)
                return
        self._drop(child)

    def _drop(self, child: Child) -> None:
        child.kill()
        with self._lock:
            self._all.discard(child)


class Helper:
    """A process for one longer job: it writes a file, or reads a stream.

    Args:
        name: what it works on, for messages.
        limits: (seconds for an answer, MB of memory; 0: no limit).
        job: the first job.
        may_write: whether it may write files.

    Raises:
        VideoNLError: it cannot be started.
        VideoError: the job failed, or its process did.
    """

    def __init__(
        self, name: str, limits: tuple[float, int], job: dict[str, Any], *, may_write: bool
    ) -> None:
        self.name, (self._seconds, self._memory) = name, limits
        self._child = Child(self._memory, may_write=may_write)
        try:
            self._child.wait_until_ready()
            self.ask(job)
        except BaseException:
            self.close()
            raise

    def ask(
        self, job: dict[str, Any], *, rows: int | None = None
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """The answer to a job, and an array of so many rows if it has one.

        Raises:
            VideoError: the job or its process failed.
        """
        try:
            seconds = self._seconds or None
            answer, array, _ = self._child.ask(job, seconds=seconds, rows=rows)
        except ChildGoneError as error:
            why = {
                "timeout": f"no answer within {self._seconds:g} s (the time limit)",
                "memory": f"it needs more than {self._memory} MB of memory (the memory limit)",
            }.get(str(error), str(error))
            raise VideoError(f"{self.name}: {why}") from None
        if "error" in answer:
            raise VideoError(str(answer["error"]).replace(os.path.abspath(self.name), self.name))
        return answer, array

    def close(self) -> None:
        """End the process."""
        self._child.kill()


def _kill_all(children: set[Child]) -> None:
    for child in list(children):
        child.cancel()
        child.kill()
    children.clear()


class SandboxedVideo(Video):
    """A :class:`Video` whose file is read by another process; made by :meth:`DecoderPool.open`."""

    def __init__(self, pool: DecoderPool, child: Child, path: str | os.PathLike[str]) -> None:
        """Take over a child; no file is opened here, so nothing of ``Video`` is set up."""
        self._pool = pool
        self._child: Child | None = child
        self._given = os.fspath(path)
        self._frames = 0
        self.damaged = set()
        self._left = pool.time_limit

    def _open(self, decoder: Decoder, *, forgiving: bool) -> None:
        assert self._child is not None
        self._child.files += 1
        # The child was started in another folder, perhaps.
        path = os.path.abspath(self._given)
        self.forgiving = forgiving
        job = {"do": "open", "path": path, "decoder": decoder, "threads": 1}
        answer, _ = self._ask({**job, "forgiving": forgiving})
        self.path = Path(self._given)
        self._frames = int(answer["num_frames"])
        self.decoder, self.damage = answer["decoder"], answer["damage"]
        self.declared_frames = int(answer["declared_frames"])
        self.high_range = str(answer["high_range"])

    def _ask(
        self, job: dict[str, Any], *, rows: int | None = None, dtype: type = np.uint8
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """Ask the child; any failure becomes a VideoError that names the file."""
        child = self._child
        if child is None:
            raise VideoError(f"{self._given}: the video is closed")
        limit = self._pool.time_limit
        try:
            if limit and self._left <= 0:
                child.expire()
            seconds = self._left if limit else None
            header, array, took = child.ask(job, seconds=seconds, rows=rows, dtype=dtype)
        except ChildGoneError as error:
            self._child = None
            self._pool._drop(child)
            raise VideoError(f"{self._given}: {self._why(str(error))}") from None
        self._left -= took
        if "error" in header:
            text = str(header["error"]).replace(os.path.abspath(self._given), self._given)
            named = text if text.startswith(self._given) else f"{self._given}: {text}"
            raise VideoError(named)
        return header, array

    def _why(self, reason: str) -> str:
        limit, memory = self._pool.time_limit, self._pool.memory_mb
        return {
            "timeout": f"it takes longer than {limit:g} s to decode (the time limit)",
            "memory": f"it needs more than {memory} MB of memory to decode (the memory limit)",
        }.get(reason, reason)

    @property
    def num_frames(self) -> int:
        """Frames in the file."""
        return self._frames

    def _get(self, name: str) -> Any:
        return self._ask({"do": "get", "name": name})[0]["value"]

    @property
    def exact_by(self) -> str:
        """``"packets"`` or ``"sequential"``."""
        return str(self._get("exact_by"))

    @property
    def height(self) -> int:
        """Height in pixels, after rotation."""
        return int(self._get("height"))

    @property
    def width(self) -> int:
        """Width in pixels, after rotation."""
        return int(self._get("width"))

    @property
    def fps(self) -> float:
        """Mean frames per second over the whole file."""
        return float(self._get("fps"))

    @property
    def end(self) -> float:
        """Seconds at which the last frame disappears."""
        return float(self._get("end"))

    def times(self, indices: Sequence[int] | None = None) -> np.ndarray:
        """Seconds at which frames appear; see :meth:`Video.times`."""
        wanted = None if indices is None else [int(index) for index in indices]
        rows = self._frames if wanted is None else len(wanted)
        array = self._ask({"do": "times", "indices": wanted}, rows=rows, dtype=np.float64)[1]
        assert array is not None
        return array

    def read(self, indices: Sequence[int], **size: Unpack[Scaling]) -> "torch.Tensor":
        """Decode frames; see :meth:`Video.read`."""
        import torch

        return torch.from_numpy(self.read_array(indices, **size))

    def read_array(self, indices: Sequence[int], **size: Unpack[Scaling]) -> np.ndarray:
        """The frames that :meth:`read` gives, as an array."""
        wanted = [int(index) for index in indices]
        job = {"do": "read", "indices": wanted, "size": size}
        answer, array = self._ask(job, rows=len(wanted))
        assert array is not None
        self.damaged |= set(map(int, answer["damaged"]))
        self._left = self._pool.time_limit  # pictures came: hours of video may go on like this
        return array

    def restart_clock(self) -> None:
        """Start the time limit again, for a file that is read piece by piece."""
        self._left = self._pool.time_limit

    def cancel(self) -> None:
        """End the decoding from another thread: the pending call fails at once."""
        child = self._child
        if child is not None:
            child.cancel()

    def close(self) -> None:
        """Give the process back."""
        child, self._child = self._child, None
        if child is None:
            return
        try:
            child.ask({"do": "close"}, seconds=5.0)
        except ChildGoneError:
            self._pool._drop(child)
        else:
            self._pool._give_back(child)
