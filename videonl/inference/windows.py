"""Windows that slide over a video of any length, decoded as a stream: pure numbers and one reader.

The video is decoded in blocks, each frame once, in order; only the frames that a window still needs
are kept, already scaled and cropped.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from videonl.errors import VideoError, VideoNLError
from videonl.shares import counted
from videonl.video.preprocessing import NOTICEABLE, Preprocessing
from videonl.video.sandbox import SandboxedVideo
from videonl.video.transforms import crop
from videonl.video.video import Video

BLOCK = 256  # frames that are decoded at a time; also bounds the memory
# How a video or a window goes on that is shorter than a clip.
HOW_ENDS = {"loop": "its frames start again", "pad": "its last frame is repeated"}


def shorter_than_a_clip(video: Video, shown: Preprocessing, name: str) -> str | None:
    """A sentence where a video is noticeably shorter than a clip."""
    if shown.sampling != "dense":
        return None
    lasts, span = video.num_frames / video.fps, shown.seconds(video.fps)
    if lasts >= (1 - NOTICEABLE) * span:
        return None
    return (
        f"{name} lasts {lasts:.2f} s and a clip of the network {span:.2f} s: "
        f"{HOW_ENDS[shown.short_video]}, as in every shorter video"
    )


@dataclass(frozen=True)
class Windows:
    """How windows lie in a video: numbers of frames, or of ticks where it is sampled by time.

    Attributes:
        window: frames from the start of a window to its end; None: the whole video.
        stride: frames from one start to the next.
        frames: frames that the network is shown of each, spread evenly; at most ``window``.
    """

    window: int | None
    stride: int
    frames: int

    def __post_init__(self) -> None:
        window = self.frames if self.window is None else self.window
        if min(window, self.stride, self.frames) < 1 or self.frames > window:
            raise VideoNLError(
                f"window={self.window}, stride={self.stride}, frames={self.frames}: each must be "
                "at least 1, and a window cannot be shorter than its frames"
            )

    def starts(self, num_frames: int) -> list[int]:
        """First frames: every ``stride``; one more that ends with the video if frames are left.

        A video shorter than a window has one window, whose missing frames repeat the last one.
        """
        if self.window is None or num_frames <= self.window:
            return [0]
        last = num_frames - self.window
        starts = list(range(0, last + 1, self.stride))
        covered = starts[-1] + self.window
        return starts if covered == num_frames else [*starts, last]

    def indices(
        self, start: int, num_frames: int, preprocessing: Preprocessing | None = None
    ) -> list[int]:
        """Frame numbers of a window; segments are spread over a video of its length."""
        window = self.window or num_frames
        if preprocessing is not None and preprocessing.sampling == "segments":
            length = min(window, num_frames - start)
            (clip,) = preprocessing.changed(frames=self.frames, views=(1, 1)).indices(length)
            return [start + index for index in clip]
        steps = (step * window // self.frames for step in range(self.frames))
        return [min(start + step, num_frames - 1) for step in steps]

    def seconds(self, starts: list[int], times: np.ndarray, *, end: float) -> np.ndarray:
        """float64 (windows, 2): start and end of each; the end is where the next frame begins.

        Args:
            starts: first frames.
            times: seconds at which each frame appears.
            end: seconds at which the last one disappears.
        """
        ends = np.append(times[1:], end)
        first = np.array(starts)
        last = np.minimum(first + (self.window or len(times)), len(times)) - 1
        return np.stack([times[first], ends[last]], axis=1)


def stream_windows(
    video: Video, windows: Windows, *, track: np.ndarray, preprocessing: Preprocessing
) -> Iterator[tuple[torch.Tensor, list[int]]]:
    """The frames of each window in turn, see :func:`clips_in_order`.

    Args:
        video: an open one.
        windows: their places on the track.
        track: see ``Preprocessing.track``.
        preprocessing: the size to scale to, and the centre crop.
    """
    count = len(track)
    places = [windows.indices(start, count, preprocessing) for start in windows.starts(count)]
    wanted = [track[each].tolist() for each in places]
    return clips_in_order(video, wanted, preprocessing=preprocessing)


def clips_in_order(
    video: Video, wanted: Sequence[Sequence[int]], *, preprocessing: Preprocessing
) -> Iterator[tuple[torch.Tensor, list[int]]]:
    """Clips of a video, each of whose frames is decoded once.

    Memory: a block of frames and those that a later clip still needs, whatever the length.

    Args:
        video: an open one.
        wanted: frame numbers of each clip.
        preprocessing: the size to scale to, and the centre crop.

    Raises:
        VideoError: a frame cannot be decoded.

    Yields:
        (uint8 (T, H, W, 3), numbers of the damaged frames, if the video was opened as forgiving).
    """
    shown = preprocessing.with_views((1, 1))
    first = np.array([min(indices) for indices in wanted])
    later = np.minimum.accumulate(first[::-1])[::-1].tolist()  # first frame still needed
    needed = sorted({index for indices in wanted for index in indices})
    blocks = blocks_in_order(video, needed, preprocessing=shown)
    held: dict[int, torch.Tensor] = {}
    for indices, needed_from in zip(wanted, later, strict=True):
        for index in [index for index in held if index < needed_from]:
            del held[index]
        while max(indices) not in held:
            numbers, frames = next(blocks)
            box = shown.boxes(frames.shape[1], frames.shape[2])[0]
            cut = crop(frames, *box, fill=shown.padding)
            # A copy of each frame, or one of them would keep the whole block in memory.
            held.update((n, frame.clone()) for n, frame in zip(numbers, cut, strict=True))
        yield (
            torch.stack([held[index] for index in indices]),
            sorted(video.damaged.intersection(indices)),
        )


class Damage:
    """Which windows of a video contain damaged frames.

    Args:
        conceal: use them nevertheless, as the decoder repairs the frames.
        what: the word for windows in messages.

    Attributes:
        windows: number of a window -> numbers of its damaged frames.
    """

    def __init__(self, *, conceal: bool, what: str = "windows") -> None:
        self.conceal, self.what = conceal, what
        self.windows: dict[int, list[int]] = {}

    @property
    def frames(self) -> list[int]:
        """The numbers of all damaged frames in windows."""
        return sorted({frame for frames in self.windows.values() for frame in frames})

    @property
    def left_out(self) -> set[int]:
        """The windows that are not classified."""
        return set() if self.conceal else set(self.windows)

    def kept(
        self, stream: Iterable[tuple[torch.Tensor, list[int]]]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """(number, clip) of the windows that are classified."""
        for number, (clip, damaged) in enumerate(stream):
            if damaged:
                self.windows[number] = damaged
            if self.conceal or not damaged:
                yield number, clip

    def tell(self, path: str, total: int) -> str | None:
        """One sentence about what was left out or concealed, if anything was.

        Raises:
            VideoError: all of ``total`` windows were left out.
        """
        if not self.windows:
            return None
        frames = self.frames
        if self.conceal:
            damaged = counted(len(frames), "damaged frame")
            return f"{path}: {damaged} shown as repaired by the decoder"
        way = "(--conceal uses them as repaired by the decoder)"
        if len(self.windows) == total:
            raise VideoError(
                f"{path}: all {self.what} contain damaged frames, the first is frame {frames[0]} "
                f"{way}"
            )
        return (
            f"{path}: {len(self.windows)} of {total} {self.what} left out because of damaged "
            f"frames, such as frame {frames[0]} {way}"
        )


def blocks_in_order(
    video: Video, needed: list[int], *, preprocessing: Preprocessing
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """(frame numbers, uint8 (n, H, W, 3)) of at most ``BLOCK`` frames each.

    Args:
        video: an open video.
        needed: frame numbers, increasing.
        preprocessing: the size to scale to.

    Raises:
        VideoError: a frame cannot be decoded.
    """
    for first in range(0, len(needed), BLOCK):
        block = needed[first : first + BLOCK]
        if isinstance(video, SandboxedVideo):
            video.restart_clock()  # the limit is for files that hang, not for long ones
        yield block, video.read(block, **preprocessing.scaling)
