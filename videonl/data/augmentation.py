"""Augmentation of a batch of uint8 videos on the device it is on, CPU or GPU.

Every clip gets its own random numbers from its own seed, which the data set draws together with the
clip's place in the video; so a run is reproducible whatever the number of workers, and all frames
of a clip are changed alike. All clips are changed at once, and all random choices go to the device
in one copy.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from videonl.data.rand_augment import Drawn, apply_round, draw_operations, rounds_of
from videonl.video.transfer import sent_together

# Of random erasing (Zhong et al. 2017, arXiv:1708.04896).
BOX_AREA = (0.02, 1 / 3)  # smallest and largest share of the picture
BOX_RATIO = 0.3  # smallest height to width; the largest is its inverse


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
    changes: list[_Change] = []  # of the views of the first video, then of the second, ...
    size = (int(video.shape[3]), int(video.shape[4]))
    for label, seed in zip(labels, seeds, strict=True):
        generator = np.random.default_rng((int(seed), 1))
        changes += [_draw(generator, int(label), augmentation, size) for _ in range(video.shape[1])]
    rounds = rounds_of([change.operations for change in changes], (int(video.shape[2]), *size))
    arrays = {"flips": np.array([change.flip for change in changes])}
    if any(change.box for change in changes):
        arrays["noise"] = _noise([change.box for change in changes], size)
    for number, one in enumerate(rounds):
        arrays |= {f"{number} {name}": array for name, array in one.arrays.items()}
    drawn = dict(zip(arrays, sent_together(list(arrays.values()), video.device), strict=True))
    clips = video.flatten(0, 1)
    if arrays["flips"].any():
        clips = torch.where(drawn["flips"].view(-1, 1, 1, 1, 1), clips.flip(-2), clips)
    else:
        clips = clips.clone()
    for number, one in enumerate(rounds):
        of_round = {name: drawn[f"{number} {name}"] for name in one.arrays}
        apply_round(clips, one.counts, of_round)
    if "noise" in drawn:
        noise = drawn["noise"][:, None]  # the same in all frames
        clips = torch.where(noise[..., 3:].view(torch.bool), noise[..., :3], clips)
    return clips.view(video.shape)


Box = tuple[int, int, np.ndarray]  # top, left, noise uint8 (height, width, 3)


@dataclass(frozen=True)
class _Change:
    """The random choices for one clip."""

    flip: bool
    operations: list[Drawn]
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


def _noise(boxes: Sequence[Box | None], size: tuple[int, int]) -> np.ndarray:
    """The box of every clip that has one, uint8 (N, H, W, 4); the last: whether it counts."""
    noise = np.zeros((len(boxes), *size, 4), np.uint8)
    for filled, box in zip(noise, boxes, strict=True):
        if box is not None:
            top, left, values = box
            filled[top : top + values.shape[0], left : left + values.shape[1], :3] = values
            filled[top : top + values.shape[0], left : left + values.shape[1], 3] = 1
    return noise


def draw_box(generator: np.random.Generator, size: Sequence[int]) -> Box:
    """A box of noise for frames of (height, width), with the paper's limits."""
    height, width = size
    share = generator.uniform(*BOX_AREA) * height * width
    shape = np.exp(generator.uniform(np.log(BOX_RATIO), -np.log(BOX_RATIO)))
    box_h = min(height, max(1, round(float(np.sqrt(share * shape)))))
    box_w = min(width, max(1, round(float(np.sqrt(share / shape)))))
    top = int(generator.integers(height - box_h + 1))
    left = int(generator.integers(width - box_w + 1))
    return top, left, generator.integers(0, 256, (box_h, box_w, 3), np.uint8)
