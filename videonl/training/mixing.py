"""Mixup and cutmix of clips: two videos in one, with both labels."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Labels (B,) as probabilities (B, K)."""
    return torch.zeros(len(labels), num_classes, device=labels.device).scatter_(
        1, labels[:, None], 1.0
    )


def mix(
    clips: Tensor, targets: Tensor, *, mixup: float, cutmix: float, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix every clip with the one that stands as far from the end of the batch.

    The middle one of an odd batch stays as it is.

    Args:
        clips: (B, 3, T, H, W).
        targets: (B, K) probabilities.
        mixup: alpha of its Beta distribution, 0 for off.
        cutmix: likewise; with both on, a fair coin decides per batch.
        generator: the source of randomness, on the host, so as not to wait for a GPU.

    Returns:
        Mixed clips and targets.
    """
    if not mixup and not cutmix:
        return clips, targets
    use_cutmix = bool(cutmix) and (not mixup or generator.random() < 0.5)
    alpha = cutmix if use_cutmix else mixup
    share = float(generator.beta(alpha, alpha))  # of the clip itself
    if use_cutmix:
        clips, share = paste(clips, share, generator=generator)
    else:
        clips = clips.lerp(clips.flip(0), 1 - share)
    return clips, targets.lerp(targets.flip(0), 1 - share)


def paste(clips: Tensor, share: float, *, generator: np.random.Generator) -> tuple[Tensor, float]:
    """Paste a box of the other clip, the same in all frames.

    Args:
        clips: (B, 3, T, H, W).
        share: of the area that stays, 0 to 1.
        generator: the source of randomness.

    Returns:
        The clips and the share that stayed, after the box was cut at the border.
    """
    height, width = clips.shape[-2:]
    side = (1 - share) ** 0.5
    box_h, box_w = round(height * side), round(width * side)
    y, x = (int(generator.integers(size)) for size in (height, width))
    top, bottom = max(y - box_h // 2, 0), min(y + (box_h + 1) // 2, height)
    left, right = max(x - box_w // 2, 0), min(x + (box_w + 1) // 2, width)
    mixed = clips.clone()
    mixed[..., top:bottom, left:right] = clips.flip(0)[..., top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)


MASK = (1 << 64) - 1
MIXING = 2  # its stream of a step's seed


def step_seed(seed: int, *, step: int, rank: int = 0) -> int:
    """A well-mixed 63-bit seed of one batch on one process (splitmix64's finaliser).

    Example:
        >>> step_seed(0, step=1) != step_seed(0, step=2) != step_seed(1, step=1)
        True
    """
    value = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank + 1) & MASK
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = ((value ^ (value >> shift)) * factor) & MASK
    return (value ^ (value >> 31)) >> 1


class StepSeed(Callback):
    """Seeds torch before every training batch with (seed, batch number, process).

    Random numbers of a step, such as those of dropout, then depend on the step alone, so that a
    training that is killed and resumed has exactly the same result. Mixup and cutmix have their own
    generator (``pl_module.mixing``), so that they do not change the others' numbers.

    Args:
        seed: of the training.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed; this enqueues nothing on a GPU."""
        batches = int(trainer.num_training_batches)
        number = trainer.current_epoch * batches + batch_idx
        seed = step_seed(self.seed, step=number, rank=trainer.global_rank)
        torch.manual_seed(seed)
        pl_module.mixing = np.random.default_rng((seed, MIXING))  # type: ignore[assignment]
