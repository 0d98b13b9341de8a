"""Gradient accumulation: how many batches each step really has, and the weight of their losses.

An epoch rarely holds a multiple of ``accumulate_grad_batches``. Lightning divides every loss by
that number, also in the last, incomplete step of an epoch (Lightning#19987), which would then be
shorter than the others by the share that is missing.
"""

from typing import Any

from lightning.pytorch import Trainer


def loss_weight(trainer: Trainer, batch_idx: int) -> float:
    """What the loss of a batch is multiplied by, so that every step takes the mean of its batches.

    Args:
        trainer: in its training; knows how many batches an epoch has.
        batch_idx: number of the batch in its epoch, from 0.
    """
    asked = trainer.accumulate_grad_batches
    if asked == 1 or trainer.strategy.handles_gradient_accumulation:
        return 1.0
    first = batch_idx // asked * asked  # of the batches of this step
    return asked / min(asked, trainer.num_training_batches - first)


def batches_per_step(trainer: Trainer, data: Any) -> int:
    """Batches per step and process: as many as were asked for, at most those of an epoch.

    Args:
        trainer: knows the processes and the limits.
        data: a ``VideoDataModule`` that was set up.
    """
    return min(trainer.accumulate_grad_batches, batches_per_epoch(trainer, data))


def batches_per_epoch(trainer: Trainer, data: Any) -> int:
    """Training batches of an epoch and process, at least 1; the arguments are as above."""
    batches, limit = data.training_batches(trainer.world_size), trainer.limit_train_batches
    if limit is not None:
        batches = min(batches, limit if isinstance(limit, int) else int(batches * limit))
    return max(1, batches)
