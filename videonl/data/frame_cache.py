"""Decoded frames on disk: a data set that fits is decoded once, not again in every epoch.

A file of the cache holds the frames of one video at the size that a training needs. A
:class:`StoredVideo` has the interface of an open video and gives the same frames to the bit; so a
cache changes the time of a training and nothing else. All workers and processes read and fill it
together: a file gets its name when it is complete, and is used if it has the right length and was
made from the video as it is now. Frames carry checksums instead of being flushed to disk, so that
writing never waits: a file that a power cut has emptied is made again.

The files are read, not mapped into memory: the system caches them anyway, once for all processes,
and a file that is truncated by someone is an error, not a crash of the process.

The cache lies in ``frames/`` in the user's cache folder, a folder per data set and size, which a
training holds by a shared lock. Folders that no process holds are removed, the oldest first, when
space is needed.
"""

import math
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch.utils.data import get_worker_info

from videonl.claims import is_first_process
from videonl.errors import OutputError, VideoError
from videonl.files import whole_file
from videonl.video.decoding.container import split_span
from videonl.video.decoding.pictures import Scaling
from videonl.video.sandbox.jobs import stamp
from videonl.video.video import Decoder, Video, open_video
from videonl.video.views import Readable

_MAGIC = b"videonl1"
# Magic, size and time of the video file, its frames, those stored, height, width, rate, end.
_HEAD = struct.Struct("<8s6q2d")
_AT_ONCE = 64 << 20  # bytes of frames that are decoded before they are written
_SHARE_LEFT = 16  # measure the folder again after writing 1/16 of what was free

AS_IT_IS: Scaling = {"short_side": None, "inside": None, "rounding": "nearest", "enlarge": True}


class StoredVideo:
    """The stored frames of a video, with the interface of an open video.

    Attributes:
        num_frames: of the video.
        fps: likewise.
        end: likewise.
        damaged: empty: only intact frames are stored.
    """

    def __init__(self, file: Path, path: str, *, scaling: Scaling, decoder: Decoder) -> None:
        """Open a file of the cache.

        Raises:
            OSError: it does not exist, or cannot be read.
            ValueError: it belongs to another state of the video, or is incomplete.
        """
        self.path, self._scaling, self._decoder, self._file = path, scaling, decoder, file
        self._stream = open(file, "rb", buffering=0)  # noqa: SIM115
        self.damaged: set[int] = set()
        try:
            head = _HEAD.unpack(self._stream.read(_HEAD.size))
            magic, size, modified, self.num_frames, stored, height, width, *clock = head
            self.fps, self.end = clock
            if magic != _MAGIC or [size, modified] != stamp(split_span(path)[0]):
                raise ValueError("of another state of the video")
            self._shape = (height, width, 3)
            self._begin = _HEAD.size + 8 * (self.num_frames + 2 * stored)
            whole = self._begin + stored * height * width * 3
            if os.fstat(self._stream.fileno()).st_size != whole:
                raise ValueError("not whole")
            table = self._stream.read(self._begin - _HEAD.size)
        except (OSError, ValueError, struct.error) as error:
            self._stream.close()
            raise error if isinstance(error, OSError) else ValueError(str(error)) from error
        ends = np.cumsum([self.num_frames, stored]) * 8
        self._times = np.frombuffer(table[: ends[0]], np.float64)
        self._numbers = np.frombuffer(table[ends[0] : ends[1]], np.int64)
        self._sums = np.frombuffer(table[ends[1] :], np.uint64)

    def times(self, indices: Sequence[int] | None = None) -> np.ndarray:
        """Seconds at which frames appear, see :meth:`videonl.video.video.Video.times`."""
        return self._times if indices is None else self._times[list(indices)]

    def read(self, indices: Sequence[int], **size: Unpack[Scaling]) -> torch.Tensor:
        """Stored frames, uint8 (len(indices), H, W, 3); decoded from the video where missing.

        Args:
            indices: frame numbers.
            size: of the stored frames.

        Raises:
            ValueError: another size than the stored one is asked for.
        """
        if AS_IT_IS | size != self._scaling:
            raise ValueError(f"frames are stored as {self._scaling}, asked for {size}")
        places = np.searchsorted(self._numbers, list(indices))
        frames = np.empty((len(places), *self._shape), np.uint8)
        with suppress(OSError, IndexError):  # a disk that fails; a frame that is not stored
            if (self._numbers[places] == indices).all() and all(
                self._into(frame, int(at)) for frame, at in zip(frames, places, strict=True)
            ):
                return torch.from_numpy(frames)
        with suppress(OSError):
            self._file.unlink()
        with open_video(self.path, decoder=self._decoder) as video:
            return video.read(indices, **self._scaling)

    def _into(self, frame: np.ndarray, place: int) -> bool:
        self._stream.seek(self._begin + place * frame.nbytes)
        got = self._stream.readinto(frame.data)
        return got == frame.nbytes and _sum(frame) == self._sums[place]

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _sum(frame: np.ndarray) -> int:
    """A checksum against accidents such as a lost page; no protection against forgery."""
    flat = frame.reshape(-1)
    cut = len(flat) // 8 * 8
    words, rest = flat[:cut].view(np.uint64), flat[cut:]
    return (int(words.sum(dtype=np.uint64)) + int(rest.sum(dtype=np.uint64))) % 2**64


def folders_of(place: Path) -> Iterator[tuple[Path, int]]:
    """The folders of the cache, each with the size of its files in bytes."""
    with suppress(OSError), os.scandir(place) as folders:
        for folder in folders:
            size = 0
            with suppress(OSError), os.scandir(folder.path) as files:
                for file in files:
                    with suppress(OSError):  # another process has just renamed or removed it
                        size += file.stat(follow_symlinks=False).st_size
                yield Path(folder.path), size


class FrameCache:
    """The stored frames of one data set at one size; it is sent to worker processes.

    Args:
        folder: of these videos at this size.
        scaling: arguments of ``Video.read``: the stored size.
        decoder: the decoder of the frames.
        budget: bytes that all files beside and in ``folder`` may take.
    """

    def __init__(self, folder: Path, *, scaling: Scaling, decoder: Decoder, budget: int) -> None:
        self.folder, self.scaling, self.decoder, self.budget = folder, scaling, decoder, budget
        self._left: int | None = None  # bytes that may still be written; None: to be measured
        self._since = 0  # bytes written since that was measured
        self._full = False
        self._refused: set[str] = set()  # videos that do not decode to the end

    @contextmanager
    def open(
        self, path: str, wanted: Callable[[Readable], Sequence[int]]
    ) -> Iterator["Video | StoredVideo"]:
        """A video, from its stored frames if they are there or can be stored now.

        Args:
            path: of the video.
            wanted: the numbers of the frames to store, increasing.

        Raises:
            VideoError: it cannot be opened.
        """
        file = self.folder / sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:40]
        stored = self._stored(file, path)
        if stored is None and not self._full and path not in self._refused:
            self._add(file, path, wanted)
            stored = self._stored(file, path)
        if stored is None:
            with open_video(path, decoder=self.decoder) as video:
                yield video
            return
        try:
            yield stored
        finally:
            stored.close()

    def _stored(self, file: Path, path: str) -> StoredVideo | None:
        with suppress(OSError, ValueError):
            return StoredVideo(file, path, scaling=self.scaling, decoder=self.decoder)
        return None

    def _add(self, file: Path, path: str, wanted: Callable[[Readable], Sequence[int]]) -> None:
        """Store the frames of a video; if that fails, it is decoded as without a cache."""
        try:
            with open_video(path, decoder=self.decoder) as video:
                self._write(file, path, video, wanted(video))
        except VideoError:  # damaged somewhere: clips before that place may still be good
            self._refused.add(path)
        except (OutputError, OSError) as error:
            self._stop(str(error))

    def _write(self, file: Path, path: str, video: Video, numbers: Sequence[int]) -> None:
        made_of, by = stamp(split_span(path)[0]), video.exact_by
        count, clock, times = video.num_frames, (video.fps, video.end), video.times()
        side = self.scaling["short_side"] or 0
        pixels = math.prod(self.scaling["inside"] or (2, side, side))
        step = max(8, _AT_ONCE // (3 * pixels))
        frames = video.read(numbers[:step], **self.scaling).numpy()
        height, width, _ = frames.shape[1:]
        size = frames[0].nbytes
        if not self._has_room(len(numbers) * size):
            return
        sums = np.empty(len(numbers), np.uint64)
        with whole_file(file) as part, open(part, "r+b") as stream:
            stream.seek(_HEAD.size + 8 * (count + 2 * len(numbers)))
            for begin in range(0, len(numbers), step):
                if begin:
                    frames = video.read(numbers[begin : begin + step], **self.scaling).numpy()
                sums[begin : begin + step] = [_sum(frame) for frame in frames]
                stream.write(frames.data)
            if video.exact_by != by:
                raise VideoError(f"{path}: its header does not list its frames")
            stream.seek(0)
            stream.write(_HEAD.pack(_MAGIC, *made_of, count, len(numbers), height, width, *clock))
            for table in (np.asarray(times, np.float64), np.array(numbers, np.int64), sums):
                stream.write(table.data)
        self._since += len(numbers) * size

    def _has_room(self, size: int) -> bool:
        if self._left is None or self._since > self._left // _SHARE_LEFT:
            used = sum(of_folder for _, of_folder in folders_of(self.folder.parent))
            self._left, self._since = max(0, self.budget - used), 0
        if self._since + size > self._left:
            self._stop("the frames take more space than estimated")
            return False
        return True

    def _stop(self, why: str) -> None:
        """Store no more in this process; one of the processes prints a note."""
        self._full = True
        worker = get_worker_info()
        if is_first_process() and (worker is None or worker.id == 0):
            print(
                f"note: no more frames are stored ({why}); the other videos are decoded each time",
                file=sys.stderr,
            )
