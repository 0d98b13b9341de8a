"""An exponential moving average of the weights, which is validated and saved in their place."""

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

# The names that Lightning's own averaging uses.
RAW = "current_model_state"  # the weights that the optimiser works on
STATE = "averaging_state"
HALVES = (torch.float16, torch.bfloat16)


class MovingAverage(Callback):
    """average = decay × average + (1 − decay) × weights, after every optimiser step.

    The first steps use a smaller decay, (1 + n) / (10 + n), so that the initial weights soon drop
    out. Batch-norm statistics are averaged too. Averages of a half precision are float32, in which
    a thousandth of a step is not lost. A checkpoint's ``state_dict`` is the average; the weights
    themselves are stored beside it, for resuming.

    Args:
        decay: 0.999 averages over about a thousand steps.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] | None = None  # the weights, while the module has the average
        self._step = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the weights, unless a checkpoint brought the average."""
        if not self.average:
            self.average = pl_module.state_dict()
        self.average = {
            name: value.detach().to(
                pl_module.device, torch.float32 if value.dtype in HALVES else value.dtype, copy=True
            )
            for name, value in self.average.items()
        }

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count steps from here."""
        self._step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average, once per optimiser step."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        state = pl_module.state_dict()
        names = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.average[name] for name in names],
            [state[name].to(self.average[name].dtype) for name in names],
            1 - decay,
        )
        for name in state.keys() - set(names):  # num_batches_tracked
            self.average[name].copy_(state[name])

    @torch.no_grad()
    def _swap(self, pl_module: LightningModule) -> None:
        state, raw = pl_module.state_dict(), self._raw
        self._raw = copy_of(state) if raw is None else None
        for name, value in state.items():
            value.copy_((raw or self.average)[name])

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average; after the training the module has it."""
        if trainer.state.fn == TrainerFn.FITTING and self.average and self._raw is None:
            self._swap(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights back."""
        if trainer.state.fn == TrainerFn.FITTING and self._raw is not None:
            self._swap(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the module."""
        self._swap(pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as ``state_dict``, and the weights beside it."""
        checkpoint[STATE] = {"updates": self.updates, "decay": self.decay}
        checkpoint[RAW] = checkpoint["state_dict"] if self._raw is None else copy_of(self._raw)
        checkpoint["state_dict"] = copy_of(self.average)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the average and the weights, to train on."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self.average = copy_of(checkpoint["state_dict"])
        if RAW in checkpoint:  # Lightning has loaded "state_dict" into the module already
            pl_module.load_state_dict(checkpoint[RAW])

    def state_dict(self) -> dict[str, Any]:
        """The number of updates."""
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of updates."""
        self.updates = state_dict["updates"]


def copy_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, copied."""
    return {name: value.detach().clone() for name, value in state.items()}
