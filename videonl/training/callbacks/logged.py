"""What the loggers get at a step of a training, without a question to the device.

Lightning asks it for every logged value at once, and its monitor of learning rates copies them to
it: either waits for all work that is queued there.
"""

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)

from collections import deque
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from videonl.video.transfer import Arrival


def log_is_due(trainer: Trainer) -> bool:
    """Whether Lightning would give its loggers a row after this batch (at its end)."""
    every = int(trainer.log_every_n_steps)  # type: ignore[attr-defined]
    if not every or trainer.fit_loop._should_accumulate():
        return False
    return trainer.global_step % every == 0 or trainer.should_stop


class LateLog:
    """Gives the loggers losses as they arrive, each with the step and epoch that it is of.

    Lightning asks the device for a logged value at once, and so waits for it.
    """

    def __init__(self) -> None:
        self._rows: deque[tuple[Arrival, int, int]] = deque()

    def add(self, loss: Arrival, trainer: Trainer) -> None:
        """Note the loss of the batch that ends, under Lightning's number of its step."""
        self._rows.append((loss, trainer.global_step - 1, trainer.current_epoch))

    def hand_over(self, trainer: Trainer, *, wait: bool = False) -> None:
        """Give the loggers what has arrived; all, with ``wait``."""
        while self._rows and (wait or self._rows[0][0].here):
            loss, step, epoch = self._rows.popleft()
            row = {"train/loss": loss.wait().item(), "epoch": float(epoch)}
            for logger in trainer.loggers:
                logger.log_metrics(row, step=step)


class RateLog(Callback):
    """Logs the learning rate of every group of parameters, ``lr/NAME``, before a logged step."""

    def __init__(self) -> None:
        self._step = -1

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Log, once per optimiser step."""
        step, every = trainer.global_step, int(trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if not every or (step + 1) % every or step == self._step:
            return
        self._step = step
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        rates = {f"lr/{group.get('name', n)}": float(group["lr"]) for n, group in enumerate(groups)}
        for logger in trainer.loggers:
            logger.log_metrics(rates, step=step)
