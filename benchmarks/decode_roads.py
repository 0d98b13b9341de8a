"""The roads from a file to a clip that benchmarks/decode.py compares.

A road is a function ``(path, start, frames, stride)`` that opens the file, delivers the frames
``start, start + stride, ...`` and closes it, as a data loader worker does for every sample. What
peers take for granted (the size, the rate, where key frames are) is looked up beforehand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import av
import torch

from videonl.video.video import open_video

SHORT_SIDE = 256
Road = Callable[[str, int, int, int], Any]
OURS, BOUND = "videonl", "lower bound"


@dataclass(frozen=True)
class Known:
    """What is known of a file before the clock starts.

    Attributes:
        packets: (time, is key frame) in decoding order.
        times: presentation times of the frames, in order.
        size: (height, width) with a short side of 256.
        native: whether the file has that size.
        fps: frames per second.
    """

    packets: list[tuple[int, bool]]
    times: list[int]
    size: tuple[int, int]
    native: bool
    fps: float


@cache
def known(path: str) -> Known:
    """Look at a file once."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        packets = [(p.pts, p.is_keyframe) for p in container.demux(stream) if p.size]
    with open_video(path) as video:
        factor = SHORT_SIDE / min(video.height, video.width)
        size = (round(video.height * factor), round(video.width * factor))
        return Known(packets, sorted(t for t, _ in packets), size, factor == 1, video.fps)


def with_videonl(path: str, start: int, frames: int, stride: int) -> torch.Tensor:
    """As the data set reads: exact frames, at the target size."""
    with open_video(path) as video:
        return video.read(range(start, start + frames * stride, stride), short_side=SHORT_SIDE)


def with_decord(path: str, start: int, frames: int, stride: int) -> Any:
    """The usual decord loop: one thread, at the target size, one ``get_batch``."""
    import decord

    height, width = known(path).size
    reader = decord.VideoReader(path, num_threads=1, width=width, height=height)
    batch = reader.get_batch(list(range(start, start + frames * stride, stride)))
    # pytorchvideo sets decord's bridge to torch for the whole process
    return batch.asnumpy() if hasattr(batch, "asnumpy") else batch.numpy()


def with_torchcodec(seek_mode: str) -> Road:
    """The way torchcodec recommends: one ``get_frames_at``, at the target size."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    def read(path: str, start: int, frames: int, stride: int) -> Any:
        decoder = VideoDecoder(
            path,
            num_ffmpeg_threads=1,
            dimension_order="NHWC",
            seek_mode=seek_mode,
            transforms=None if known(path).native else [Resize(known(path).size)],
        )
        return decoder.get_frames_at(list(range(start, start + frames * stride, stride))).data

    return read


def with_pytorchvideo(decoder: str) -> Road:
    """Its ``LabeledVideoDataset``; what it does not do, scaling, is left out in its favour."""
    from pytorchvideo.data import LabeledVideoDataset
    from pytorchvideo.data.clip_sampling import ClipInfo, ClipSampler

    class At(ClipSampler):
        """One clip that starts at a given second."""

        def __init__(self, start: float, seconds: float) -> None:
            super().__init__(seconds)
            self.start = start

        def __call__(self, *_: Any) -> ClipInfo:
            return ClipInfo(self.start, self.start + self._clip_duration, 0, 0, True)

    def read(path: str, start: int, frames: int, stride: int) -> Any:
        fps = known(path).fps
        sampler = At(start / fps, frames * stride / fps)
        dataset = LabeledVideoDataset(
            [(path, {"label": 0})], sampler, decode_audio=False, decoder=decoder
        )
        return next(iter(dataset))["video"][:, ::stride][:, :frames]

    return read


@cache
def _needed(path: str, start: int, frames: int, stride: int) -> tuple[int, list[bool]]:
    """(where to seek, for every packet from there whether a wanted frame needs it)."""
    packets, times = known(path).packets, known(path).times
    wanted = {times[start + i * stride] for i in range(frames)}
    needed = [False] * len(packets)
    key = 0
    for position, (time, is_key) in enumerate(packets):
        key = position if is_key else key
        if time in wanted:
            needed[key : position + 1] = [True] * (position + 1 - key)
    first = needed.index(True)
    last = len(needed) - needed[::-1].index(True)
    return packets[first][0], needed[first:last]


def lower_bound(path: str, start: int, frames: int, stride: int) -> int:
    """Open, seek, decode the packets that the wanted frames need; no scaling, no colours."""
    place, needed = _needed(path, start, frames, stride)
    count, running = 0, False
    with av.open(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        context.thread_count, context.thread_type = 1, "NONE"
        container.seek(place, stream=stream)
        for wanted, packet in zip(needed, container.demux(stream), strict=False):
            if wanted:
                count += len(packet.decode())
            elif running:
                count += len(context.decode(None))
                context.flush_buffers()
            running = wanted
        return count + len(context.decode(None))


@cache
def roads() -> dict[str, Road]:
    """The roads that work on this machine, ours and the bound first."""
    found: dict[str, Road] = {OURS: with_videonl, BOUND: lower_bound}
    try:
        import decord  # noqa: F401

        found["decord"] = with_decord
    except ImportError:
        print("decord does not load here")
    for mode in ("exact", "approximate"):
        try:
            found[f"torchcodec ({mode})"] = with_torchcodec(mode)
        except (ImportError, RuntimeError, OSError) as error:
            print(f"torchcodec does not load here ({str(error).splitlines()[0]})")
            break
    for decoder in ("decord", "pyav"):
        try:
            found[f"pytorchvideo ({decoder})"] = with_pytorchvideo(decoder)
        except ImportError as error:
            print(f"pytorchvideo does not load here ({error})")
            break
    return found
