"""Augmentation of a batch of uint8 videos where it lies, on the CPU or the GPU.

Every clip gets its own random numbers out of its own seed, drawn by the data set together with the
clip's place in the video; so a run repeats itself whatever the number of workers, and all frames of
a clip are changed alike.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from videonl.data.rand_augment import rand_augment


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
