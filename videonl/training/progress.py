"""What a person sees of a training: a bar on a terminal, lines in a log, one line per epoch."""

import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from videonl.training.metrics import TOP_K

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)


ACCURACIES = (
    *(("top1", "val top-1"), ("top5", "top-5"), ("macro", "macro")),
    *(("map", "val mAP"), ("hit1", "hit@1")),
)
SECONDS = 30.0  # between two lines in a log


def progress_bar() -> Callback:
    """TQDM on a terminal, whether rich is installed or not; plain lines into a file or pipe."""
    return TerminalBar() if sys.stdout.isatty() else ProgressLines()


class TerminalBar(TQDMProgressBar):
    """Lightning's bar, drawn now and then, since drawing asks the device for the loss."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=5, leave=False)

    def get_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The values beside the bar."""
        metrics = super().get_metrics(*args, **kwargs)
        metrics.pop("v_num", None)
        return metrics


class ProgressLines(Callback):
    """A line every half minute within an epoch: ``epoch 1/10  step 120/3000  loss 3.20 ...``."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._printed = self._started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; resuming within an epoch does not start one."""
        self._printed = self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._printed = self._started = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print where the training is, if it is time."""
        now = time.monotonic()
        if now - self._printed < self.seconds or not trainer.is_global_zero:
            return
        self._printed = now
        total = int(trainer.num_training_batches)
        left = (now - self._started) / (batch_idx + 1) * (total - batch_idx - 1)
        loss = float(outputs["loss"]) if isinstance(outputs, dict) else float(outputs)
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  "
            f"batch {batch_idx + 1}/{total}  loss {loss:.3f}  {left / 60:.1f} min to go",
            flush=True,
        )


class EpochLines(Callback):
    """A line at the end of every epoch: losses, accuracies, clips per second, wait for data."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; resuming within an epoch does not start one."""
        self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line (Lightning calls this after the validation of the epoch)."""
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        many = many_classes(pl_module)
        parts = [f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"]
        if "train/loss" in metrics:
            parts.append(f"loss {float(metrics['train/loss']):.3f}")
        for key, text in ACCURACIES:
            if f"val/{key}" in metrics and (key != "top5" or many):
                parts.append(f"{text} {100 * float(metrics[f'val/{key}']):.1f} %")
        parts.append(f"{time.monotonic() - self._started:.1f} s")
        pl_module.print("  ".join(parts))


def many_classes(pl_module: LightningModule) -> bool:
    """Whether the five most probable classes are not simply all of them."""
    scores: Any = getattr(pl_module, "video_scores", None)
    return scores is not None and len(scores.per_class) > TOP_K


# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)


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
