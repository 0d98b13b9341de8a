"""A video file as an exact array of frames: frame ``i`` is the i-th of a full sequential decode.

    with open_video("clip.mp4") as video:
        frames = video.read([0, 8, 16], short_side=256)   # uint8 (3, H, W, 3), RGB
        seconds = video.times([0, 8, 16])

Whatever the container says, :meth:`Video.read` returns exactly the frames asked for or raises one
:class:`~videonl.errors.VideoError` with the reason. Rotation and mirrors are applied.
Pixels are taken as square, as all published recipes do.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, Unpack

import numpy as np

from videonl.errors import VideoError
from videonl.shares import counted
from videonl.video.clock import MOST_SECONDS, Clock, nominal_rate, read_clock
from videonl.video.decoding.container import Source, open_source, regular_file, split_span
from videonl.video.decoding.decord_reader import decord_obstacle, read_with_decord
from videonl.video.decoding.frame_table import FrameTable, PacketReader, build_table
from videonl.video.decoding.mp4_table import mp4_table
from videonl.video.decoding.packet_decoder import (
    CorruptError,
    DamageError,
    PacketDecoder,
    TableError,
)
from videonl.video.decoding.pictures import Pictures, Scaling
from videonl.video.decoding.sequential_decoder import SequentialDecoder

if TYPE_CHECKING:  # a decoding process (sandbox/worker.py) does without torch's 500 MB
    import torch

Decoder = Literal["auto", "pyav", "decord"]
ROUNDED = 1.1e-3  # seconds; Matroska and others round the times of frames to milliseconds
DECODERS = ("auto", "pyav", "decord")


def open_video(
    path: str | os.PathLike[str],
    *,
    decoder: Decoder = "auto",
    threads: int = 1,
    forgiving: bool = False,
) -> "Video":
    """Open a video file; use it as a context manager.

    Args:
        path: a regular file (never an address, a playlist or an FFmpeg protocol); with ``#t=1.5,4``
            behind its name, the part between these seconds.
        decoder: ``"pyav"``, ``"decord"``, or ``"auto"``: the faster one that is exact for this
            file, which is PyAV (see benchmarks/decode.py). ``"decord"`` refuses the files that
            decord does not read exactly, instead of silently using another decoder.
        threads: decoder threads (PyAV); keep 1 inside data loader workers.
        forgiving: read damaged frames as the decoder repairs them (not decord); their numbers are
            in :attr:`Video.damaged`, which the caller has to check.

    Raises:
        VideoError: the file is missing, no video, without frames, or not exact with that decoder.
    """
    if decoder not in DECODERS:
        raise VideoError(f"decoder={decoder!r} is unknown; use one of {', '.join(DECODERS)}")
    table = mp4_table(regular_file(path)) if decoder != "decord" else None
    source = open_source(path, threads=threads, quick=table is not None)
    video = Video(source, decoder=decoder, table=table, forgiving=forgiving)
    span = split_span(path)[1]
    if span is not None:
        try:
            video.limit(*span)
        except BaseException:
            video.close()
            raise
    return video


class Video:
    """An open video; made by :func:`open_video`.

    Attributes:
        path: the file, as given.
        decoder: ``"pyav"`` or ``"decord"``: the one that decodes the frames.
        num_frames: frames that a full decode gives (not what the header claims).
        declared_frames: what the header claims, 0 if nothing.
        damage: None, or the reason why decoding from the start stops early.
        forgiving: damaged frames are read as the decoder repairs them; see :func:`open_video`.
        damaged: numbers of the damaged frames that were read.
        high_range: ``"PQ"`` or ``"HLG"`` where the colours are of high dynamic range, else ``""``.
            They are read as they are stored, without tone mapping.
    """

    high_range = ""

    def __init__(
        self,
        source: Source,
        *,
        decoder: Decoder,
        table: FrameTable | None = None,
        forgiving: bool = False,
    ) -> None:
        """Take over an open source; ``table`` is read from its header (decoding/mp4_table.py)."""
        self._source = source
        self.forgiving = forgiving
        self.damaged: set[int] = set()
        self.path = source.path
        self.damage: str | None = None
        self.declared_frames = int(source.stream.frames)
        self.high_range = source.high_range
        self._pictures = Pictures(str(source.path))
        self._size: tuple[int, int] | None = None
        self._part: tuple[int, int] | None = None  # of limit: first frame, and the one behind
        try:
            self._sequential: SequentialDecoder | None = None
            self._table = table
            self._by_header = table is not None
            if table is None:
                self._ask_packets()
            elif source.codec != "h264" or self.declared_frames != len(table):
                self._open_again()
            if self.num_frames == 0:
                why = f" ({self.damage})" if self.damage else ""
                raise VideoError(f"{self.path}: it has a video stream but no frames{why}")
            self.decoder = "decord" if decoder == "decord" else "pyav"
            if decoder == "decord":
                self._check_decord()
        except BaseException:
            source.close()
            raise

    def _check_decord(self) -> None:
        width = self._shape()[1]
        obstacle = decord_obstacle(
            self._source, self._table, rotation=self._pictures.rotation, width=width
        )
        obstacle = obstacle or self._pictures.trait
        if obstacle:
            raise VideoError(
                f"{self.path}: decord does not read this file exactly ({obstacle}); "
                "use decoder='auto' or 'pyav'"
            )

    def _read_table(self) -> FrameTable | None:
        """Demux the whole stream once; leaves the container at its end."""
        import av

        stream = self._source.stream
        codec = self._source.codec
        reader = PacketReader(codec, stream.codec_context.extradata)
        packets = []
        try:
            for packet in self._source.container.demux(stream):
                if packet.size:
                    packets.append(reader.info(packet))
        except (av.FFmpegError, OSError):
            return None  # damaged in the middle: only decoding tells what is there
        return build_table(packets, codec, self._source.format)

    def _ask_packets(self) -> None:
        self._table = self._read_table()
        if self._table is None:
            self._count_frames()

    def _open_again(self) -> None:
        """The header contradicts FFmpeg: open the file again and read its packets."""
        threads = self._source.stream.codec_context.thread_count
        self._source.close()
        self._source = open_source(self.path, threads=threads)
        self._by_header = False
        self._ask_packets()

    def _count_frames(self) -> None:
        self._sequential = SequentialDecoder(self._source, self._pictures, forgiving=self.forgiving)
        self.damage = self._sequential.damage

    def limit(self, start: float, end: float | None = None) -> None:
        """Restrict this video to the frames that appear from ``start`` on and before ``end``.

        Frame 0 is then the first of these; a part too short for a frame of its own is the frame on
        display. ``times`` remain those of the file.

        Args:
            start: seconds, on the clock of :meth:`times`.
            end: seconds; None, or behind the last frame: to the end.

        Raises:
            VideoError: nothing of the file lies there, or the end does not lie behind the start.
        """
        self._part = None
        if end is not None and end <= start:
            raise VideoError(
                f"{self.path}: the part from {start:g} s to {end:g} s is empty; its end must lie "
                "behind its start"
            )
        times, last = self.times(), self.end
        if start >= last - ROUNDED or (end is not None and end <= times[0]):
            shown = "its end" if end is None else f"{end:g} s"
            raise VideoError(
                f"{self.path}: the part from {start:g} s to {shown} lies outside of the video, "
                f"which shows pictures from {times[0]:.6g} to {last:.6g} s"
            )
        first = int(np.searchsorted(times, start - ROUNDED, side="left"))
        stop = len(times) if end is None else int(np.searchsorted(times, end - ROUNDED, "left"))
        if stop <= first:  # between two frames
            first, stop = max(0, first - 1), max(1, first)
        self._part = (first, stop)

    @property
    def num_frames(self) -> int:
        """Frames in the file, or in its part (:meth:`limit`)."""
        if self._part is not None:
            return self._part[1] - self._part[0]
        return self._frames_in_file()

    def _frames_in_file(self) -> int:
        if self._table is not None:
            return len(self._table)
        return len(self._sequential) if self._sequential is not None else 0

    @property
    def exact_by(self) -> str:
        """How the frames are found.

        ``"header"`` (decoding/mp4_table.py), ``"packets"`` (decoding/frame_table.py), or
        ``"sequential"``: by decoding from the start. If one of them turns out to be wrong, the next
        is used.
        """
        if self._table is None:
            return "sequential"
        return "header" if self._by_header else "packets"

    @property
    def height(self) -> int:
        """Height in pixels, after rotation."""
        return self._shape()[0]

    @property
    def width(self) -> int:
        """Width in pixels, after rotation."""
        return self._shape()[1]

    def _shape(self) -> tuple[int, int]:
        if self._size is None:
            self._size = self._read_pyav([0], {}).shape[1:3]  # type: ignore[assignment]
        assert self._size is not None
        return self._size

    @property
    def fps(self) -> float:
        """Mean frames per second over the whole file, or over its part.

        It is the rate in the header where the two differ only by the rounding of times.
        """
        times, nominal = self._clock().times, nominal_rate(self._source)
        if self._part is not None and self.num_frames > 1:
            times = times[slice(*self._part)]
        steps, seconds = len(times) - 1, float(times[-1] - times[0])
        if steps < 1 or seconds <= 0 or abs(steps / nominal - seconds) < ROUNDED:
            return nominal
        return steps / seconds

    def _clock(self) -> Clock:
        if self._table is not None:
            pts: np.ndarray | None = self._table.frame_pts
            held, packets = self._table.held, len(self._table.pts)
        else:
            assert self._sequential is not None
            pts, held = self._sequential.pts, self._sequential.held
            packets = self._frames_in_file()
        whole = packets == self.declared_frames
        return read_clock(self._source, pts, self._frames_in_file(), held=held, whole=whole)

    @property
    def end(self) -> float:
        """Seconds at which the last frame disappears, on the clock of :meth:`times`."""
        clock = self._clock()
        if self._part is not None and self._part[1] < len(clock.times):
            return float(clock.times[self._part[1]])
        return clock.end

    def times(self, indices: Sequence[int] | None = None) -> np.ndarray:
        """Seconds at which frames appear, as a player shows them (clock.py).

        Args:
            indices: which frames; None: all.

        Returns:
            float64; the first frame is not at 0 where the pictures begin later than the sound.

        Raises:
            VideoError: an index is outside the file; or times of all frames are asked for, and they
                are longer than any recording (a damaged header).
        """
        seconds = self._clock().times
        if indices is not None:
            return seconds[self._checked(indices)]
        if self._part is not None:
            seconds = seconds[slice(*self._part)]
        if seconds[-1] > MOST_SECONDS:
            raise VideoError(
                f"{self.path}: the times of its {len(seconds)} frames reach to {seconds[-1]:.3g} "
                "seconds, so it cannot be sampled by time; sample it by frame (without fps)"
            )
        return seconds

    def read(self, indices: Sequence[int], **size: Unpack[Scaling]) -> "torch.Tensor":
        """Decode frames.

        Args:
            indices: frame numbers in any order, repeats allowed.
            size: of the pictures, see :class:`~videonl.video.decoding.pictures.Scaling`.

        Returns:
            uint8 (len(indices), H, W, 3), RGB.

        Raises:
            VideoError: an index is outside the file, or a frame cannot be decoded.
        """
        import torch

        return torch.from_numpy(self.read_array(indices, **size))

    def read_array(self, indices: Sequence[int], **size: Unpack[Scaling]) -> np.ndarray:
        """The frames that :meth:`read` gives, as an array, without torch."""
        wanted = self._checked(indices)
        short_side, inside = size.get("short_side"), size.get("inside")
        if short_side is not None and inside is not None:
            raise VideoError("short_side and inside both set the size; give one of them")
        if short_side is not None and short_side < 1:
            raise VideoError(f"short_side must be at least 1, got {short_side}")
        if inside is not None and min(inside) < 1:
            raise VideoError(f"inside must be at least 1 pixel high and wide, got {inside}")
        if others := set(size) - set(Scaling.__annotations__):
            raise TypeError(f"no such argument for the size of frames: {', '.join(sorted(others))}")
        if not wanted:
            raise VideoError(f"{self.path}: no frame indices to read")
        unique, back = np.unique(np.array(wanted, np.int64), return_inverse=True)
        frames = self._read(unique.tolist(), size)
        if len(unique) != len(wanted) or (back != np.arange(len(back))).any():
            frames = frames[back]
        return frames

    def _checked(self, indices: Sequence[int]) -> list[int]:
        """The frames by their numbers in the file."""
        wanted = [int(i) for i in indices]
        self._within(wanted, self.num_frames)
        first = self._part[0] if self._part else 0
        return [first + index for index in wanted]

    def _within(self, wanted: Sequence[int], count: int) -> None:
        for index in wanted:
            if not 0 <= index < count:
                why = f"; {self.damage}" if self.damage else ""
                have = f"the video has {counted(count, 'frame')}, counted from 0"
                raise VideoError(f"{self.path}: there is no frame {index}; {have}{why}")

    def _read(self, wanted: list[int], scale: Scaling) -> np.ndarray:
        if self.decoder == "decord":
            scaled = partial(self._pictures.rescaled, scale=scale)
            return read_with_decord(
                self.path, wanted, self._shape(), self._frames_in_file(), scale=scaled
            )
        return self._read_pyav(wanted, scale)

    def _read_pyav(self, wanted: list[int], scale: Scaling) -> np.ndarray:
        while self._table is not None:
            try:
                decoder = PacketDecoder(self._source, self._table, self._pictures)
                return decoder.read(wanted, scale)
            except (DamageError, TableError) as error:
                if self.forgiving and isinstance(error, DamageError | CorruptError):
                    with suppress(TableError):
                        return self._repaired(wanted, scale)
                if isinstance(error, DamageError):
                    raise
                if self._by_header:
                    self._open_again()
                else:  # the packets lied: from here on only decoding tells
                    self._table = None
                    self._count_frames()
                self._within(wanted, self._frames_in_file())
        assert self._sequential is not None
        self._note_damaged(self._sequential.damaged.intersection(wanted))
        return self._sequential.read(wanted, scale)

    def _repaired(self, wanted: list[int], scale: Scaling) -> np.ndarray:
        assert self._table is not None
        decoder = PacketDecoder(self._source, self._table, self._pictures)
        frames, damaged = decoder.read_repaired(wanted, scale)
        self._note_damaged(damaged)
        return frames

    def _note_damaged(self, numbers: set[int]) -> None:
        first = self._part[0] if self._part else 0
        self.damaged |= {number - first for number in numbers}

    def close(self) -> None:
        """Close the file and the decoder."""
        if self._sequential is not None:
            self._sequential.close()
            self._sequential = None
        self._source.close()

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.num_frames

    def __repr__(self) -> str:
        return f"Video({str(self.path)!r}, {self.num_frames} frames, {self.exact_by})"
