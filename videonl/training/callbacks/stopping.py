"""Ctrl-C, SIGTERM and SIGHUP end a training between two steps, with a saved checkpoint."""

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from lightning.pytorch import Callback, LightningModule, Trainer

from videonl.claims import is_first_process
from videonl.errors import ENDING, Stopped, VideoNLError, going_on
from videonl.training.callbacks.checkpoints import (
    Checkpoints,
    between_steps,
    is_last_batch,
    is_lost_worker,
)

SIGNALS = [signal.SIGINT, *ENDING]
# Messages of gloo and NCCL about a process that has ended.
LOST_PROCESS = re.compile(
    r"closed by peer|reset by peer|socket closed|remote process exited|no longer connected", re.I
)


# DataLoader answers a killed worker in the middle of whatever runs; without this signal it finds
# out when it waits for the next batch, between two steps, where the epoch so far can be saved.
WORKERS = getattr(signal, "SIGCHLD", None)


@contextmanager
def plain_signals() -> Iterator[None]:
    """Restore the signal handlers that Lightning replaces, and undo its ``SystemExit``.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed, which Lightning turns into ``SystemExit``.
    """
    is_main = threading.current_thread() is threading.main_thread()
    numbers = [*SIGNALS, *([WORKERS] if WORKERS else [])] if is_main else []
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_lost(error: Exception, *, last: Path | None = None) -> NoReturn:
    """Raise one sentence if a process was killed; otherwise raise the error as it is.

    Args:
        error: of a Trainer.
        last: the checkpoint to resume from, if there may be one.

    Raises:
        VideoNLError: a process was killed.
    """
    on = f"then {going_on(last)}"
    if is_lost_worker(error):
        raise VideoNLError(
            "a process that decodes videos was killed, which the system does when memory runs out: "
            f"use fewer with --data.num_workers or smaller batches with --data.batch_size, {on}"
        ) from error
    if isinstance(error, RuntimeError) and LOST_PROCESS.search(str(error)):
        raise VideoNLError(
            f"another process of this training has ended; see its error, {on}"
        ) from error
    raise error


class TrainingStopped(Stopped):
    """The training was stopped by a signal; the text says how to resume it."""


class GracefulStop(Callback):
    """On a signal: finish the step, save ``last.ckpt``, stop. A second Ctrl-C stops at once.

    With several processes nothing is saved, since they are stopped at different steps; the training
    can be resumed from the last regular ``last.ckpt``.

    Args:
        checkpoints: of the run.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self._signal = 0
        self._process = 0
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers, after Lightning's; only possible in the main thread."""
        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread():
            heard = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]  # nohup
            self._previous = {number: signal.signal(number, self._on_signal) for number in heard}

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a decoding worker inherits this: the training decides
            return
        if self._signal:
            self._restore()
            raise KeyboardInterrupt
        self._signal = signum
        if not is_first_process():
            return
        print("\nstopping after this step ...", file=sys.stderr, flush=True)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remove DataLoader's handler for killed workers, which it has installed by now.

        The loss of a worker is then found between two steps. The handler is not restored, since its
        error could interrupt the saving of a checkpoint.
        """
        if self._previous and WORKERS and signal.getsignal(WORKERS) is not signal.SIG_DFL:
            signal.signal(WORKERS, signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop after a signal, unless accumulated gradients wait for their step."""
        if self._signal and between_steps(trainer) and not is_last_batch(trainer):
            if trainer.world_size == 1:
                self.checkpoints.save_last(trainer)
            self._stop()

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Stop after a signal; the weights are saved only if there is no checkpoint yet."""
        if self._signal:
            if not self.checkpoints.last.exists() and trainer.world_size == 1:
                self.checkpoints.save_last(trainer)
            self._stop()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop between two epochs, after the checkpoint of the previous one."""
        if self._signal:
            self._stop()

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self._signal != 0

    def stopped(self) -> TrainingStopped:
        """The exception, which says how to resume the training."""
        on = going_on(self.checkpoints.last, nothing="nothing was saved yet")
        return TrainingStopped(f"stopped; {on}", signum=self._signal)

    def _stop(self) -> None:
        raise self.stopped()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the signal handlers."""
        self._restore()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Restore the signal handlers."""
        self._restore()
