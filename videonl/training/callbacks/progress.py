"""What a training prints: a bar on a terminal, lines in a log, one line per epoch."""

import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer, TQDMProgressBar

from videonl.data import VideoDataModule
from videonl.shares import accuracy, percent
from videonl.training.callbacks.logged import log_is_due
from videonl.training.metrics import TOP_K, MultiLabelScores, mean_loss
from videonl.training.task import AnyScores
from videonl.video.transfer import Arrival

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)


SECONDS = 30.0  # between two lines in a log


def progress_bar() -> Callback:
    """TQDM on a terminal, whether rich is installed or not; plain lines into a file or pipe."""
    return TerminalBar() if sys.stdout.isatty() else ProgressLines()


class TimeToGo:
    """The remaining time of the whole training, from its speed so far."""

    def __init__(self) -> None:
        self._began, self._first = 0.0, 0

    def start(self, trainer: Trainer) -> None:
        """Start the clock; batches before a resumption do not count."""
        self._began = time.monotonic()
        progress = trainer.fit_loop.epoch_loop.batch_progress.current
        self._first = self._batches(trainer, int(progress.ready) - 1)

    @staticmethod
    def _batches(trainer: Trainer, batch_idx: int) -> int:
        return trainer.current_epoch * int(trainer.num_training_batches) + batch_idx + 1

    def text(self, trainer: Trainer, batch_idx: int) -> str:
        """The time in words; "" if the end of the training is not known or is reached.

        Args:
            trainer: has the limits of epochs, steps or time.
            batch_idx: of the last batch, in its epoch.
        """
        done = self._batches(trainer, batch_idx)
        ends: list[float] = []
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            ends.append(trainer.max_epochs * int(trainer.num_training_batches))
        if trainer.max_steps >= 0:
            batches, window = int(trainer.num_training_batches), trainer.accumulate_grad_batches
            steps = trainer.max_steps - trainer.global_step
            ends.append(done + steps * batches / -(-batches // window))
        pace = (time.monotonic() - self._began) / max(done - self._first, 1)
        left = [pace * (end - done) for end in ends]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer) and (time_left := callback.time_remaining()) is not None:
                left.append(time_left)
        return f"{span(min(left))} to go" if left and min(left) > 0 else ""


def span(seconds: float) -> str:
    """A length of time, in the unit that fits.

    Example:
        >>> span(42.4), span(400), span(9000), span(300_000)
        ('42 s', '7 min', '2.5 h', '3.5 days')
    """
    for unit, size, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


class TerminalBar(TQDMProgressBar):
    """Lightning's bar, drawn every few batches."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=5, leave=False)
        self._clock = TimeToGo()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._clock.start(trainer)
        super().on_train_start(trainer, pl_module)

    def get_metrics(self, trainer: Trainer, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The values beside the bar, with the time left for the whole training."""
        metrics = dict(super().get_metrics(trainer, *args, **kwargs))
        metrics.pop("v_num", None)
        text = self._clock.text(trainer, trainer.fit_loop.batch_idx) if trainer.training else ""
        return metrics | ({"training": text} if text else {})


def epoch_of(trainer: Trainer) -> str:
    """The number of the epoch, and of all epochs if that is known."""
    known = trainer.max_epochs is not None and trainer.max_epochs >= 0
    return f"epoch {trainer.current_epoch + 1}" + (f"/{trainer.max_epochs}" if known else "")


class ProgressLines(Callback):
    """A line every half minute: ``epoch 1/10  batch 120/3000  mean loss 3.2  2.5 h to go``."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._printed = 0.0
        self._clock = TimeToGo()
        self._line: tuple[str, Arrival] | None = None  # where, and the counts on their way

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._clock.start(trainer)
        self._printed = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print the progress, if the last line is long enough ago; on a GPU when it has arrived."""
        now = time.monotonic()
        if self._line is None and now - self._printed >= self.seconds and trainer.is_global_zero:
            self._printed = now
            classifier: Any = pl_module
            total = int(trainer.num_training_batches)
            where = f"{epoch_of(trainer)}  batch {batch_idx + 1}/{total}"
            self._line = where, Arrival(classifier.train_meter.sums)
        if self._line is not None and self._line[1].here:
            where, counts = self._line
            self._line = None
            loss = mean_loss(counts.wait())  # of the epoch so far, here
            shown = "" if loss is None else f"  mean loss {loss:.3f}"
            print(f"{where}{shown}  {self._clock.text(trainer, batch_idx)}".rstrip(), flush=True)


class EpochLines(Callback):
    """A line at the end of every epoch: its mean loss, accuracy in training and validation."""

    def __init__(self) -> None:
        self._started = 0.0
        self._validated: AnyScores | None = None
        self._clock = TimeToGo()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; a training that is resumed within an epoch has no ``epoch_start``."""
        self._clock.start(trainer)
        self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._validated = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what the epoch's last validation found."""
        classifier: Any = pl_module
        self._validated = classifier.video_scores

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line (Lightning calls this after the validation of the epoch)."""
        classifier: Any = pl_module
        # Every process takes part; the module logs and resets the meter after its callbacks.
        training: AnyScores = classifier.train_meter.scores(pl_module.device)
        if not trainer.is_global_zero:
            return
        parts = [epoch_of(trainer)]
        if training.loss is not None:
            parts += [f"mean loss {training.loss:.3f}", training_text(training)]
        if self._validated is not None and self._validated.videos:
            parts += validation_texts(self._validated)
        parts.append(f"{time.monotonic() - self._started:.1f} s")
        left = self._clock.text(trainer, int(trainer.num_training_batches) - 1)
        parts += [left] if left else []
        pl_module.print("  ".join(parts))


def training_text(scores: AnyScores) -> str:
    """Accuracy of the training clips, as they were seen."""
    if isinstance(scores, MultiLabelScores):
        return f"train hit@1 {percent(scores.hit1, scores.videos)}"
    return f"train top-1 {percent(scores.top1, scores.videos)}"


def validation_texts(scores: AnyScores) -> list[str]:
    """Accuracies of the validation videos, with Wilson's interval where there is one."""
    videos = scores.videos
    if isinstance(scores, MultiLabelScores):
        return [f"val mAP {percent(scores.map, videos)}", f"hit@1 {accuracy(scores.hit1, videos)}"]
    found = [f"val top-1 {accuracy(scores.top1, videos)}"]
    if len(scores.per_class) > TOP_K:  # else the five most probable classes are all of them
        found.append(f"top-5 {accuracy(scores.top5, videos)}")
    return [*found, f"macro {percent(scores.macro, videos)}"]


WAIT_HINT = 0.3  # share of the time that is worth a hint
HINT_BATCHES = 20  # too few batches say nothing: the workers are still starting


@dataclass
class Spell:
    """Times of a part of the training: in all, of waiting for batches, of a GPU's steps."""

    seconds: float = 0.0
    waited: float = 0.0
    computed: float = 0.0
    clips: int = 0
    batches: int = 0

    @property
    def share(self) -> float:
        """The share of the time that is lost by waiting for data.

        While the host waits, a GPU may still compute queued work; that time is not lost.
        """
        cost = min(self.waited, max(0.0, self.seconds - self.computed))
        return min(1.0, cost / max(self.seconds, 1e-9))


class SpeedMonitor(Callback):
    """Logs ``speed/clips_per_second``, ``speed/data_wait`` (share of time) and ``memory/peak_gib``.

    Waiting is measured where a batch is fetched (``TimedLoader``), a GPU's steps by CUDA events
    that are read after they have happened, so that the host does not wait. The memory is that of
    the GPU, or on a CPU of the process without its workers.
    """

    def __init__(self) -> None:
        self._window, self._epoch = Spell(), Spell()
        self._mark = self._fetched = 0.0
        self._events: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()
        self._first = True  # epoch of this run

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; a training that is resumed within an epoch has no ``epoch_start``."""
        self._window, self._epoch = Spell(), Spell()
        self._mark, self._fetched = time.perf_counter(), waited(trainer)

    on_train_epoch_start = on_train_start

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the time of a validation within an epoch out."""
        self._mark = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Record the start of a GPU's step."""
        if pl_module.device.type == "cuda":
            self._events.append((event(), torch.cuda.Event(enable_timing=True)))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the batch, and log now and then."""
        if self._events:
            self._events[-1][1].record()
        now, fetched = time.perf_counter(), waited(trainer)
        computed = self._steps_done()
        for spell in (self._window, self._epoch):
            spell.seconds += now - self._mark
            spell.waited += fetched - self._fetched
            spell.computed += computed
            spell.clips += len(batch["label"]) * trainer.world_size
            spell.batches += 1
        self._mark, self._fetched = now, fetched
        if log_is_due(trainer):
            self._log(trainer, pl_module)

    def _steps_done(self) -> float:
        """Seconds of the steps that a GPU has finished since the last call."""
        seconds = 0.0
        while self._events and self._events[0][1].query():
            begin, end = self._events.popleft()
            seconds += begin.elapsed_time(end) / 1000
        return seconds

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        values = {
            "speed/clips_per_second": self._window.clips / max(self._window.seconds, 1e-9),
            "speed/data_wait": self._window.share,
        }
        if pl_module.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(pl_module.device)
            values["memory/peak_gib"] = peak / 2**30
        else:
            values["memory/peak_gib"] = peak_of_process()
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step - 1)  # as the loss of the batch
        self._window = Spell()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print a hint if reading the data is the bottleneck."""
        share, batches = self._epoch.share, self._epoch.batches
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        first, self._first = self._first, False
        if share <= WAIT_HINT or batches < HINT_BATCHES or not isinstance(data, VideoDataModule):
            return
        if first and data.caches:
            return  # the videos have been decoded now, for all epochs
        cure = data.cure_for_waiting(on_cpu=pl_module.device.type == "cpu")
        if cure and trainer.is_global_zero:
            told = percent(share)
            pl_module.print(f"hint: the training waited for videos {told} of the time; {cure}")


def waited(trainer: Trainer) -> float:
    """Seconds that the training batches have been waited for; 0 for a loader that is not ours."""
    return float(getattr(trainer.train_dataloader, "waited", 0.0))


def event() -> torch.cuda.Event:
    """An event recorded at the present end of a GPU's queue."""
    made = torch.cuda.Event(enable_timing=True)
    made.record()
    return made


def peak_of_process() -> float:
    """Peak memory of this process in GiB; 0 if the system does not provide it."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
