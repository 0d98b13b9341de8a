"""Augmentation of a batch of uint8 videos where it lies, on the CPU or the GPU.

Every clip gets its own random numbers out of its own seed, drawn by the data set together with the
clip's place in the video; so a run repeats itself whatever the number of workers, and all frames of
a clip are changed alike.

RandAugment for clips: the same operations with the same strength on every frame.

Cubuk et al. 2019 (arXiv:1909.13719). Operations that look at the picture (equalize, autocontrast)
look at the whole clip, so that a clip does not flicker.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

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


def rand_augment(
    clip: torch.Tensor,
    generator: np.random.Generator,
    *,
    layers: int = 2,
    magnitude: float = 7.0,
    spread: float = 0.5,
) -> torch.Tensor:
    """Apply ``layers`` random operations, each with probability one half.

    Args:
        clip: uint8 (T, H, W, 3).
        generator: the source of randomness.
        layers: operations drawn.
        magnitude: mean strength, 0 to 10.
        spread: standard deviation of the strength.

    Returns:
        uint8 (T, H, W, 3).
    """
    frames = clip.permute(0, 3, 1, 2)  # (T, 3, H, W)
    for name in generator.choice(list(OPERATIONS), layers):
        strength = float(np.clip(generator.normal(magnitude, spread), 0, 10)) / 10
        sign = 1 if generator.random() < 0.5 else -1
        if generator.random() < 0.5:
            frames = OPERATIONS[str(name)](frames, sign * strength)
    return frames.permute(0, 2, 3, 1)


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
                raise ValueError(f"{name} is a probability, got {getattr(self, name)}")
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
    numbers = [int(label) for label in labels]
    result = torch.empty_like(video)
    for i, seed in enumerate(int(s) for s in seeds):
        generator = np.random.default_rng((seed, 1))
        for view in range(video.shape[1]):
            result[i, view] = _clip(video[i, view], numbers[i], generator, augmentation)
    return result


def _clip(
    clip: torch.Tensor, label: int, generator: np.random.Generator, augmentation: Augmentation
) -> torch.Tensor:
    """One clip (T, H, W, 3); draws the same numbers whatever is switched on."""
    coins = generator.random(2)
    if coins[0] < augmentation.flip and label not in augmentation.flip_exceptions:
        clip = clip.flip(-2)
    if augmentation.layers:
        clip = rand_augment(
            clip, generator, layers=augmentation.layers, magnitude=augmentation.magnitude
        )
    if coins[1] < augmentation.erasing:
        clip = erase(clip, generator)
    return clip


def erase(
    clip: torch.Tensor,
    generator: np.random.Generator,
    *,
    area: tuple[float, float] = (0.02, 1 / 3),
    ratio: float = 0.3,
) -> torch.Tensor:
    """Fill a box with noise, the same in all frames (Zhong et al. 2017, arXiv:1708.04896).

    Args:
        clip: uint8 (T, H, W, 3); not changed.
        generator: the source of randomness.
        area: smallest and largest share of the picture.
        ratio: smallest height to width; the largest is its inverse.
    """
    height, width = clip.shape[1:3]
    share = generator.uniform(*area) * height * width
    shape = np.exp(generator.uniform(np.log(ratio), -np.log(ratio)))
    box_h = min(height, max(1, round(float(np.sqrt(share * shape)))))
    box_w = min(width, max(1, round(float(np.sqrt(share / shape)))))
    top = int(generator.integers(height - box_h + 1))
    left = int(generator.integers(width - box_w + 1))
    noise = torch.from_numpy(generator.integers(0, 256, (box_h, box_w, 3), np.uint8))
    clip = clip.clone()
    clip[:, top : top + box_h, left : left + box_w] = noise.to(clip.device)
    return clip
