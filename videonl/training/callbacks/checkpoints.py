"""Checkpoints of a run, the best and the last: written atomically, read without running code."""

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)

import os
import time
from collections.abc import Mapping
from pathlib import Path
from traceback import walk_tb
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import nn

from videonl.errors import CheckpointError, DatasetError, OutputError, VideoError
from videonl.escapes import as_word
from videonl.files import whole_stream
from videonl.models.finite import check_finite
from videonl.models.presets import HALF_GREY, clip
from videonl.training.callbacks.finite import weights_of
from videonl.training.callbacks.theirs import as_list, blamed, leave_out_objects
from videonl.weights.checkpoint import check_network
from videonl.weights.formats.own import read_own
from videonl.weights.run_folder import BEST, LAST
from videonl.weights.safe import read_content

SYNC_STEPS = 50  # processes agree on the time to save only so often: agreeing makes them wait


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a temporary file, then renames it: a kill leaves the previous checkpoint intact."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            print(text, flush=True)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            CheckpointError: the disk is full, or the folder may not be written.
        """
        target = Path(path)
        for callback, kind in leave_out_objects(checkpoint.get("callbacks", {})).items():
            rank_zero_only(self._tell)(
                f"warning: checkpoints do not include the state of {callback}, because it holds an "
                f"object of type {kind}; only numbers, text and tensors are saved"
            )
        try:
            with whole_stream(target) as file:
                torch.save(checkpoint, file)
        except OutputError as error:
            kept = "; the previous one is intact" if target.exists() else ""
            raise CheckpointError(
                f"{target}: the checkpoint cannot be written ({error.reason}){kept}. Free "
                "some space or choose another folder with --out, then continue (fit: with --resume)"
            ) from error


class Checkpoints(Checkpoint):
    """Keeps ``best.ckpt`` and ``last.ckpt``.

    ``last.ckpt`` is written at the end of every epoch, and within one every ``every_seconds``; a
    resumed training goes on from exactly there.

    Args:
        folder: of the run.
        monitor: the score that the best checkpoint has highest; ties go to the lower loss.
        every_seconds: time between two saves within an epoch; None: only at its end.
        every_steps: likewise in optimiser steps.
        options: of the Trainer; where a callback or logger in them fails, the training is saved.
    """

    def __init__(
        self,
        folder: Path,
        *,
        monitor: str = "val/top1",
        every_seconds: float | None = 600.0,
        every_steps: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.monitor, self.options = folder, monitor, options or {}
        self.every_seconds, self.every_steps = every_seconds, every_steps
        self.best_score: float | None = None
        self.best_loss = float("inf")
        self.best_epoch: int | None = None
        self._validated = False
        self._saved_at = time.monotonic()
        self._saved_step = 0
        self._training = False

    @property
    def best(self) -> Path:
        """The path of the best checkpoint."""
        return self.folder / BEST

    @property
    def last(self) -> Path:
        """The path of the last checkpoint."""
        return self.folder / LAST

    def save_last(self, trainer: Trainer) -> None:
        """Write ``last.ckpt`` now."""
        trainer.save_checkpoint(self.last)
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        self._training = True  # everything is loaded: what is saved from now on is whole

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within the epoch when it is due, between two optimiser steps."""
        # Not after the last batch: the validation belongs to the epoch, resuming would skip it.
        if between_steps(trainer) and not is_last_batch(trainer) and self._due(trainer):
            self.save_last(trainer)

    def _due(self, trainer: Trainer) -> bool:
        step = trainer.global_step
        if self.every_steps and step % self.every_steps == 0 and step != self._saved_step:
            return True
        if self.every_seconds is None:
            return False
        due = time.monotonic() - self._saved_at >= self.every_seconds
        if trainer.world_size == 1:
            return due
        return step % SYNC_STEPS == 0 and bool(trainer.strategy.broadcast(due))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there is a new score; within an epoch, save the best checkpoint at once."""
        self._validated = not trainer.sanity_checking
        if self._training and not is_last_batch(trainer):
            self._keep_best(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``last.ckpt``, and ``best.ckpt`` if the score is the best so far."""
        self._keep_best(trainer)
        self.save_last(trainer)

    def _keep_best(self, trainer: Trainer) -> None:
        """Write ``best.ckpt`` if there is a new score and it is the best so far."""
        score = trainer.callback_metrics.get(self.monitor)
        loss = float(trainer.callback_metrics.get("val/loss", float("inf")))
        if self._validated and score is not None and self._is_best(float(score), loss):
            self.best_score, self.best_loss = float(score), loss
            self.best_epoch = trainer.current_epoch
            trainer.save_checkpoint(self.best)
        self._validated = False

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save if a video, callback or logger failed, rather than the training itself."""
        of_videos = isinstance(exception, (DatasetError, VideoError)) or is_lost_worker(exception)
        of_theirs = not of_videos and blamed(exception, self.options) is not None
        if not (of_videos or of_theirs) or trainer.world_size > 1 or not self._training:
            return
        if of_theirs:  # what has failed once is asked for nothing more
            theirs = as_list(self.options.get("callbacks"))
            ours = [c for c in trainer.callbacks if not any(c is other for other in theirs)]  # type: ignore[attr-defined]
            trainer.callbacks = ours  # type: ignore[attr-defined]
        self._save_in_between(trainer)

    def _save_in_between(self, trainer: Trainer) -> None:
        """Save, if no step is half done and the weights have changed since the last save."""
        if trainer.validating and not self.last.exists():
            self.save_last(trainer)
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
        between = progress.started == progress.processed and between_steps(trainer)
        if not (trainer.training and between):
            return
        if is_last_batch(trainer):
            self._keep_best(trainer)
        if trainer.global_step != self._saved_step:
            self.save_last(trainer)

    def _is_best(self, score: float, loss: float) -> bool:
        return self.best_score is None or (score, -loss) > (self.best_score, -self.best_loss)

    def state_dict(self) -> dict[str, Any]:
        """The best score so far."""
        return {
            "best_score": self.best_score,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score so far."""
        self.best_score = state_dict["best_score"]
        self.best_loss = state_dict["best_loss"]
        self.best_epoch = state_dict["best_epoch"]


BROKEN_PIPE = (EOFError, ConnectionError, FileNotFoundError)


def is_lost_worker(error: BaseException) -> bool:
    """Whether an error means that a worker of a DataLoader was killed.

    DataLoader says so itself, or fetching a batch from the worker's shared memory fails, with a
    connection that is refused, closed or at its end.
    """
    if isinstance(error, RuntimeError):
        return "DataLoader worker (pid" in str(error)
    if not isinstance(error, BROKEN_PIPE):
        return False
    places = {str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)}
    return any(place.startswith("torch.multiprocessing.") for place in places)


def between_steps(trainer: Trainer) -> bool:
    """Whether no accumulated gradients are waiting for their step."""
    return not trainer.fit_loop._should_accumulate()


def is_last_batch(trainer: Trainer) -> bool:
    """Whether this is the last batch of the epoch."""
    return bool(trainer.fit_loop.epoch_loop.batch_progress.is_last_batch)


def name_of(network: nn.Module) -> str:
    """The name, in a checkpoint, of a network that is not one of videonl."""
    return f"{type(network).__module__}:{type(network).__qualname__}"


def adopt(network: nn.Module) -> bool:
    """Give a network from outside of videonl a name and the usual preprocessing.

    Returns:
        Whether it is from outside.
    """
    if isinstance(getattr(network, "config", None), Mapping):
        return False
    network.config = {"name": name_of(network), "options": {}}  # type: ignore[assignment]
    if not hasattr(network, "preprocessing"):
        network.preprocessing = clip(8, 8, HALF_GREY).to_dict()  # type: ignore[assignment]
    return True


def read_checkpoint(path: Path, *, network: str | nn.Module | None = None) -> dict[str, Any]:
    """Load the checkpoint of a training without running any code that it may hold or name.

    Args:
        path: of the file.
        network: the name of its network in the user's own words, see ``name_in_file``; or a
            network of the user's, which is not compared with the tensors here.

    Raises:
        CheckpointError: missing, damaged, hostile, not ours, or with weights that are not finite.
            If the best checkpoint beside it is intact, the message says how to resume from that.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint file")
    try:
        return checked_checkpoint(path, network=network)
    except CheckpointError as error:
        best = path.with_name(BEST)
        if path.name != LAST or not is_whole(best, network=network):
            raise
        raise CheckpointError(
            f"{error}; {best} is intact: go on with --resume {as_word(best)}"
        ) from error


def checked_checkpoint(path: Path, *, network: str | nn.Module | None) -> dict[str, Any]:
    """The content of a checkpoint of videonl, checked against the network that it declares.

    Raises:
        CheckpointError: it is not.
    """
    content = read_content(path, in_place=True)
    said = name_of(network) if isinstance(network, nn.Module) else network
    own = read_own(content, network=said)
    if own is None or content.kind != "torch":
        raise CheckpointError(
            f"{path}: not a checkpoint that videonl wrote; give published weights to "
            "--model.pretrained"
        )
    beside = [*content.skipped, *own.skipped]
    if beside:
        raise CheckpointError(f"{path} holds {beside[0]}, which no training writes")
    if not isinstance(network, nn.Module):
        check_network(path, own)
    checkpoint = dict(content.data)
    about = dict(checkpoint["hyper_parameters"])
    about |= {"name": own.config["name"], "options": own.config["options"]}
    checkpoint["hyper_parameters"] = about
    check_finite(weights_of(checkpoint), source=path)
    return checkpoint


def is_whole(path: Path, *, network: str | nn.Module | None) -> bool:
    """Whether a training can be resumed from a file."""
    try:
        return path.is_file() and "optimizer_states" in checked_checkpoint(path, network=network)
    except CheckpointError:
        return False
