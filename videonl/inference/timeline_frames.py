"""The frames that windows need, in order, a block at a time."""

from collections.abc import Iterator

import av
import numpy as np
import torch

from videonl.data.container import open_source, reason
from videonl.data.guarded import GuardedVideo
from videonl.data.pictures import Pictures
from videonl.data.video import Video
from videonl.errors import VideoError

FRAMES_AT_ONCE = 256  # frames decoded at a time


def blocks_in_order(
    video: Video, needed: list[int], *, short_side: int
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """(frame numbers, uint8 (n, H, W, 3)) of at most ``FRAMES_AT_ONCE`` frames each.

    Args:
        video: an open video.
        needed: frame numbers, increasing.
        short_side: pixels to scale to.

    Raises:
        VideoError: a frame can not be decoded.
    """
    blocks = [needed[first : first + FRAMES_AT_ONCE] for first in range(0, len(needed), FRAMES_AT_ONCE)]
    if video.exact_by == "sequential" and len(blocks) > 1:
        yield from _one_pass(video, blocks, short_side)
        return
    for block in blocks:
        if isinstance(video, GuardedVideo):
            video.restart_clock()  # the limit is against files that hang, not against long ones
        yield block, video.read(block, short_side=short_side)


def _one_pass(
    video: Video, blocks: list[list[int]], short_side: int
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """One decode from the start, for files in which nothing else finds a frame.

    Reading such a file block by block would start at its first frame every time. It was decoded
    from end to end when it was opened (in a process that can be killed, where that is wanted), so
    decoding it here meets nothing new.
    """
    source = open_source(video.path)
    pictures = Pictures(str(video.path))
    try:
        frames = enumerate(source.container.decode(source.stream))
        for block in blocks:
            wanted = set(block)
            found: list[np.ndarray] = []
            while len(found) < len(block):
                index, frame = next(frames)
                if index in wanted:
                    if frame.is_corrupt:
                        raise VideoError(f"{video.path}: frame {index} is damaged")
                    found.append(pictures.array(frame, short_side))
            yield block, torch.from_numpy(np.stack(found))
    except StopIteration:
        raise VideoError(f"{video.path}: the file changed while it was read") from None
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{video.path}: decoding stops ({reason(error)})") from error
    finally:
        source.close()
