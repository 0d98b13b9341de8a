"""Augmentation of a batch of uint8 videos on the device it is on, CPU or GPU.

Every clip gets its own random numbers from its own seed, which the data set draws together with the
clip's place in the video; so a run is reproducible whatever the number of workers, and all frames
of a clip are changed alike.

RandAugment for clips: the same operations with the same strength on every frame.

Cubuk et al. 2019 (arXiv:1909.13719). Operations that use the statistics of a picture (equalize,
autocontrast) use those of the whole clip, so that a clip does not flicker.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from videonl.video.transforms import sent

Operation = Callable[[torch.Tensor, float], torch.Tensor]  # (T, 3, H, W), -1 to 1


def _affine(
    clip: torch.Tensor, *, angle: float = 0, shift: tuple[float, float] = (0, 0), **shear: float
) -> torch.Tensor:
    return F.affine(
        clip,
        angle=angle,
        translate=[shift[0] * clip.shape[-1], shift[1] * clip.shape[-2]],
        scale=1.0,
        shear=[shear.get("x", 0.0), shear.get("y", 0.0)],
        interpolation=F.InterpolationMode.BILINEAR,
        fill=[128.0],
    )


def _whole(function: Callable[[torch.Tensor], torch.Tensor], clip: torch.Tensor) -> torch.Tensor:
    """Apply a per-picture operation to the clip as one tall picture (3, T * H, W)."""
    tall = clip.transpose(0, 1).flatten(1, 2)
    return function(tall).unflatten(1, (clip.shape[0], clip.shape[2])).transpose(0, 1)


OPERATIONS: dict[str, Operation] = {
    "identity": lambda clip, _: clip,
    "autocontrast": lambda clip, _: _whole(F.autocontrast, clip),
    "equalize": lambda clip, _: _whole(F.equalize, clip),
    "rotate": lambda clip, s: _affine(clip, angle=30 * s),
    "shear_x": lambda clip, s: _affine(clip, x=17 * s),
    "shear_y": lambda clip, s: _affine(clip, y=17 * s),
    "translate_x": lambda clip, s: _affine(clip, shift=(0.45 * s, 0)),
    "translate_y": lambda clip, s: _affine(clip, shift=(0, 0.45 * s)),
    "brightness": lambda clip, s: F.adjust_brightness(clip, 1 + 0.9 * s),
    "contrast": lambda clip, s: F.adjust_contrast(clip, 1 + 0.9 * s),
    "colour": lambda clip, s: F.adjust_saturation(clip, 1 + 0.9 * s),
    "sharpness": lambda clip, s: F.adjust_sharpness(clip, 1 + 0.9 * s),
    "posterize": lambda clip, s: F.posterize(clip, 8 - round(4 * abs(s))),
    "solarize": lambda clip, s: F.solarize(clip, 256 * (1 - abs(s))),
}


def draw_operations(
    generator: np.random.Generator, *, layers: int, magnitude: float, spread: float = 0.5
) -> list[tuple[str, float]]:
    """``layers`` random operations of RandAugment, each taken with probability one half.

    Args:
        generator: the source of randomness.
        layers: operations drawn.
        magnitude: mean strength, 0 to 10.
        spread: standard deviation of the strength.

    Returns:
        Name and strength, -1 to 1, of those that were taken.
    """
    taken = []
    for name in generator.choice(list(OPERATIONS), layers):
        strength = float(np.clip(generator.normal(magnitude, spread), 0, 10)) / 10
        sign = 1 if generator.random() < 0.5 else -1
        if generator.random() < 0.5:
            taken.append((str(name), sign * strength))
    return taken


@dataclass(frozen=True)
class Augmentation:
    """What happens to training clips after decoding and cropping.

    Attributes:
        flip: probability of a mirror image.
        flip_exceptions: class numbers for which left and right matter: never mirrored.
        layers: operations of RandAugment per clip; 0 is none.
        magnitude: their strength, 0 to 10.
        erasing: probability that a box is filled with noise, the same box in all frames.
    """

    flip: float = 0.5
    flip_exceptions: Collection[int] = ()
    layers: int = 0
    magnitude: float = 7.0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: a probability lies in 0 to 1")
        if self.layers < 0 or not 0 <= self.magnitude <= 10:
            raise ValueError(
                "RandAugment needs layers >= 0 and a magnitude of 0 to 10, got "
                f"{self.layers} and {self.magnitude}"
            )


def augment(
    video: torch.Tensor,
    labels: Sequence[int] | torch.Tensor,
    seeds: Sequence[int] | torch.Tensor,
    augmentation: Augmentation,
) -> torch.Tensor:
    """Change every clip of a batch at random.

    Args:
        video: uint8 (B, V, T, H, W, 3); not changed.
        labels: class number per video, (B,).
        seeds: per video, (B,).
        augmentation: what to do.

    Returns:
        uint8 (B, V, T, H, W, 3), on the same device.
    """
    shape = tuple(video.shape[:2])
    changes: list[_Change] = []  # of the views of the first video, then of the second, ...
    for label, seed in zip(labels, seeds, strict=True):
        generator = np.random.default_rng((int(seed), 1))
        size = video.shape[3:5]
        changes += [_draw(generator, int(label), augmentation, size) for _ in range(shape[1])]
    if any(change.flip for change in changes):
        flips = torch.tensor([change.flip for change in changes]).view(*shape, 1, 1, 1, 1)
        video = torch.where(sent(flips, video.device), video.flip(-2), video)
    else:
        video = video.clone()
    for place, change in zip(np.ndindex(shape), changes, strict=True):
        for name, strength in change.operations:
            frames = video[place].permute(0, 3, 1, 2)  # (T, 3, H, W)
            video[place] = OPERATIONS[name](frames, strength).permute(0, 2, 3, 1)
    if any(change.box for change in changes):
        video = _erased(video, [change.box for change in changes])
    return video


Box = tuple[int, int, np.ndarray]  # top, left, noise uint8 (height, width, 3)


@dataclass(frozen=True)
class _Change:
    """The random choices for one clip."""

    flip: bool
    operations: list[tuple[str, float]]
    box: Box | None


def _draw(
    generator: np.random.Generator, label: int, augmentation: Augmentation, size: Sequence[int]
) -> _Change:
    """A generator for one kind of change, independent of which other kinds are switched on."""
    coins = generator.random(2)
    layers, magnitude = augmentation.layers, augmentation.magnitude
    return _Change(
        bool(coins[0] < augmentation.flip) and label not in augmentation.flip_exceptions,
        draw_operations(generator, layers=layers, magnitude=magnitude) if layers else [],
        draw_box(generator, size) if coins[1] < augmentation.erasing else None,
    )


def _erased(video: torch.Tensor, boxes: Sequence[Box | None]) -> torch.Tensor:
    """Fill the box of every clip that has one, in all of its frames, with one copy."""
    size = (*video.shape[:2], 1, *video.shape[3:5])
    noise = np.zeros((len(boxes), *video.shape[3:5], 4), np.uint8)  # the last: whether it counts
    for filled, box in zip(noise, boxes, strict=True):
        if box is not None:
            top, left, values = box
            filled[top : top + values.shape[0], left : left + values.shape[1], :3] = values
            filled[top : top + values.shape[0], left : left + values.shape[1], 3] = 1
    on_device = sent(torch.from_numpy(noise), video.device).view(*size, 4)
    return torch.where(on_device[..., 3:].view(torch.bool), on_device[..., :3], video)


def draw_box(
    generator: np.random.Generator,
    size: Sequence[int],
    *,
    area: tuple[float, float] = (0.02, 1 / 3),
    ratio: float = 0.3,
) -> Box:
    """A box of noise, the same in all frames (Zhong et al. 2017, arXiv:1708.04896).

    Args:
        generator: the source of randomness.
        size: (height, width) of the frames.
        area: smallest and largest share of the picture.
        ratio: smallest height to width; the largest is its inverse.
    """
    height, width = size
    share = generator.uniform(*area) * height * width
    shape = np.exp(generator.uniform(np.log(ratio), -np.log(ratio)))
    box_h = min(height, max(1, round(float(np.sqrt(share * shape)))))
    box_w = min(width, max(1, round(float(np.sqrt(share / shape)))))
    top = int(generator.integers(height - box_h + 1))
    left = int(generator.integers(width - box_w + 1))
    return top, left, generator.integers(0, 256, (box_h, box_w, 3), np.uint8)
