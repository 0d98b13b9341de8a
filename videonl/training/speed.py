"""How fast a training runs, and whether it waits for its data."""

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)

import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

WAIT_HINT = 0.3  # share of the time that is worth a hint
HINT_BATCHES = 20  # too few batches say nothing: the workers are still starting


class SpeedMonitor(Callback):
    """Logs ``speed/clips_per_second``, ``speed/data_wait`` (share of time) and ``memory/peak_gib``.

    The memory is the GPU's, or on a CPU the process's without its workers.

    The host's clock is read, the device is never asked, so that measuring costs nothing.
    """

    def __init__(self) -> None:
        self._wait = self._busy = 0.0
        self._clips = 0
        self._mark: float | None = None
        self._epoch = [0.0, 0.0, 0]  # wait, busy, batches

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._mark = time.perf_counter()
        self._epoch = [0.0, 0.0, 0]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The batch is here: what passed since the last one was waiting."""
        now = time.perf_counter()
        if self._mark is not None:
            self._wait += now - self._mark
            self._epoch[0] += now - self._mark
        self._mark = now

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the step, and log now and then."""
        now = time.perf_counter()
        if self._mark is not None:
            self._busy += now - self._mark
            self._epoch[1] += now - self._mark
        self._epoch[2] += 1
        self._clips += len(batch["label"]) * trainer.world_size
        every = int(trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if every and trainer.global_step and trainer.global_step % every == 0:
            self._log(trainer, pl_module)
        self._mark = time.perf_counter()

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = self._wait + self._busy
        values = {
            "speed/clips_per_second": self._clips / max(seconds, 1e-9),
            "speed/data_wait": self._wait / max(seconds, 1e-9),
        }
        if pl_module.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(pl_module.device)
            values["memory/peak_gib"] = peak / 2**30
        else:
            values["memory/peak_gib"] = peak_of_process()
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        self._wait, self._busy, self._clips = 0.0, 0.0, 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so where the data is the bottleneck."""
        wait, busy, batches = self._epoch
        share = wait / max(wait + busy, 1e-9)
        if share > WAIT_HINT and batches >= HINT_BATCHES and trainer.is_global_zero:
            pl_module.print(
                f"hint: {share:.0%} of the time the training waited for videos; raise "
                "--data.num_workers, or re-encode them for fast access with videonl prepare"
            )


def peak_of_process() -> float:
    """GiB of memory that this process has held at most; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
