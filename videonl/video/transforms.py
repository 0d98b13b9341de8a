"""Crops of uint8 frames, and the step from uint8 frames to the float clips a network sees.

Frames stay uint8 (…, H, W, 3) until they are on the device: a quarter of the bytes through the
workers, and the permuted float clip is already in ``channels_last_3d`` order.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Unpack

import numpy as np
import torch
import torch.nn.functional as F

from videonl.errors import VideoNLError
from videonl.video.decoding.pictures import Scaling, size_of
from videonl.video.transfer import sent


def to_clips(
    video: torch.Tensor,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Normalise: ``(video / 255 - mean) / std``, and put the channels first.

    Args:
        video: uint8 (…, T, H, W, 3), RGB.
        mean: per channel, in units of 0 to 1.
        std: per channel, in units of 0 to 1.
        dtype: of the result.

    Returns:
        (…, 3, T, H, W), a permuted view: every clip is ``channels_last_3d`` without a copy.

    Raises:
        ValueError: the last dimension is not 3 or the frames are not uint8.
    """
    if video.ndim < 4 or video.shape[-1] != 3:
        raise ValueError(f"video must be (..., T, H, W, 3), got {tuple(video.shape)}")
    if video.dtype != torch.uint8:
        raise ValueError(f"video must be uint8 (0 to 255), got {video.dtype}")
    known = _known_constants if type(video) is torch.Tensor else _constants  # or a fake one
    scale, shift = known(tuple(mean), tuple(std), dtype, video.device)
    clips = torch.addcmul(shift, video, scale)  # in the type of the constants
    return clips.movedim(-1, -4)  # (..., 3, T, H, W)


def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift of the colours (3,), for every mode of autograd."""
    scales = [1 / (255 * s) for s in std]
    shifts = [-m / s for m, s in zip(mean, std, strict=True)]
    with torch.inference_mode(False):
        scale, shift = sent(torch.tensor([scales, shifts], dtype=dtype), device)
        return scale, shift


_known_constants = lru_cache(maxsize=16)(_constants)


def crop(
    frames: torch.Tensor,
    top: int,
    left: int,
    height: int,
    width: int,
    *,
    fill: Sequence[int] | None = None,
) -> torch.Tensor:
    """Cut (…, H, W, C) to (…, height, width, C).

    Args:
        frames: of any kind.
        top: first row, below 0 where the result begins above the frames.
        left: first column, likewise.
        height: of the result.
        width: of the result.
        fill: one value per channel for what lies outside of the frames; None: nothing may be.

    Raises:
        VideoNLError: something lies outside.
    """
    if fill is not None:
        inner = frames[..., max(top, 0) : top + height, max(left, 0) : left + width, :]
        if inner.shape[-3:-1] == (height, width):
            return inner
        filled = frames.new_empty((*frames.shape[:-3], height, width, len(fill)))
        filled[:] = frames.new_tensor(fill)
        y, x = max(-top, 0), max(-left, 0)
        filled[..., y : y + inner.shape[-3], x : x + inner.shape[-2], :] = inner
        return filled
    if not (0 <= top <= frames.shape[-3] - height and 0 <= left <= frames.shape[-2] - width):
        raise VideoNLError(
            f"a crop of {height}x{width} at ({top}, {left}) does not lie inside frames of "
            f"{frames.shape[-3]}x{frames.shape[-2]}; short_side must be at least crop"
        )
    return frames[..., top : top + height, left : left + width, :]


def scaled(frames: torch.Tensor, **size: Unpack[Scaling]) -> torch.Tensor:
    """Scale frames (T, H, W, 3), uint8, to the size that :meth:`Video.read` would give them.

    Args:
        frames: at their stored size.
        size: the same that ``Video.read`` takes.
    """
    height, width = frames.shape[1:3]
    target = size_of(height, width, **size)
    if target == (height, width):
        return frames
    planes = frames.permute(0, 3, 1, 2)  # (T, 3, H, W)
    return F.interpolate(planes, target, mode="bilinear", antialias=True).permute(0, 2, 3, 1)


def random_resized_crop(
    frames: torch.Tensor,
    size: int,
    generator: np.random.Generator,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> torch.Tensor:
    """Cut a box of random area and shape, the same in all frames, and scale it to a square.

    Args:
        frames: uint8 (T, H, W, 3).
        size: of the result, in pixels.
        generator: the source of randomness.
        area: smallest and largest share of the picture.
        ratio: smallest and largest width / height.

    Returns:
        uint8 (T, size, size, 3).
    """
    height, width = frames.shape[1:3]
    box_h = box_w = min(height, width)
    for _ in range(10):  # some boxes of the drawn area and shape do not fit
        share = generator.uniform(*area) * height * width
        shape = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        tall, wide = round(math.sqrt(share / shape)), round(math.sqrt(share * shape))
        if 0 < tall <= height and 0 < wide <= width:
            box_h, box_w = tall, wide
            break
    top = int(generator.integers(height - box_h + 1))
    left = int(generator.integers(width - box_w + 1))
    box = crop(frames, top, left, box_h, box_w).permute(0, 3, 1, 2)  # (T, 3, box_h, box_w)
    scaled = F.interpolate(box, (size, size), mode="bilinear", antialias=True)
    return scaled.permute(0, 2, 3, 1).contiguous()
