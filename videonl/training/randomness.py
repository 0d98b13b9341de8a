"""Random numbers that depend on the seed and the step alone, so that any step can be resumed."""

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

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

    Dropout and whatever else draws in a step is then a function of the step, and so is the
    generator of mixup and cutmix, which is its own (``pl_module.mixing``): how much one of them
    draws does not move the other. A training killed anywhere goes on bit for bit.

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
