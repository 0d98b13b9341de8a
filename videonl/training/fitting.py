"""Run one training, and write its checkpoints, metrics and summary."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from videonl.claims import claimed, is_first_process
from videonl.data import VideoDataModule
from videonl.data.census import write_census
from videonl.data.splits import TRAIN_LIST, VAL_LIST, write_lists
from videonl.errors import VideoNLError
from videonl.files import write_text
from videonl.training.callbacks.bad_files import BadFiles
from videonl.training.callbacks.checkpoints import BROKEN_PIPE, Checkpoints, is_lost_worker
from videonl.training.callbacks.ema import MovingAverage
from videonl.training.callbacks.logged import RateLog
from videonl.training.callbacks.metrics_file import MetricsFile
from videonl.training.callbacks.progress import EpochLines, SpeedMonitor, progress_bar
from videonl.training.callbacks.stopping import GracefulStop, plain_signals, raise_lost
from videonl.training.callbacks.summary import Summary
from videonl.training.callbacks.theirs import explained
from videonl.training.classifier import VideoClassifier
from videonl.training.memory import way_out
from videonl.training.mixing import StepSeed
from videonl.training.run_header import check_clip, facts
from videonl.training.runs import ResumePosition, check_resumable
from videonl.training.trainer import leaves_nothing, make_trainer
from videonl.weights.run_folder import CONFIG


@dataclass(frozen=True)
class FitResult:
    """Where a training ended.

    Attributes:
        run_dir: the folder with everything.
        best: checkpoint of the epoch with the best validation accuracy, None without validation.
        last: checkpoint to go on from.
        best_score: its accuracy, 0 to 1.
        epochs: epochs trained in all.
        metric: what the accuracy is: "top1", or "map" of several labels per video.
        videos: validation videos of that accuracy.
        signs: diagnosis of the training, with options to try (signs.py); None if nothing was
            written.
        reports: whether this is the process that prints.
        nothing_left: whether the resumed run was finished already.
    """

    run_dir: Path
    best: Path | None
    last: Path
    best_score: float | None
    epochs: int
    reports: bool = True
    metric: str = "top1"
    videos: int = 0
    signs: str | None = None
    nothing_left: bool = False


def fit(
    classifier: VideoClassifier,
    data: VideoDataModule,
    *,
    run_dir: Path,
    seed: int = 0,
    resume: Path | None = None,
    save_every_minutes: float = 10.0,
    save_every_steps: int | None = None,
    config: str | None = None,
    trainer_options: dict[str, Any] | None = None,
    announce: Callable[..., Sequence[str]] = facts,
) -> FitResult:
    """Train.

    Args:
        classifier: the network and its recipe.
        data: set up already.
        run_dir: gets ``best.ckpt``, ``last.ckpt``, ``config.yaml``, ``census.json``,
            ``metrics.csv``, TensorBoard events, ``summary.md`` and its pictures.
        seed: random seed of the training steps.
        resume: a checkpoint to continue from, with the same result as without the interruption.
        save_every_minutes: how often ``last.ckpt`` is written within an epoch.
        save_every_steps: likewise in optimiser steps.
        config: text of ``config.yaml``.
        trainer_options: of Lightning's ``Trainer``; callbacks and loggers are added to those of
            videonl, and ``logger=False`` writes no TensorBoard events.
        announce: makes the lines that are printed before the start; has the arguments of
            ``videonl.training.run_header.facts``.

    Raises:
        VideoNLError: the network does not take clips of this size, another process trains in this
            folder, or a process that decodes was killed.
        CheckpointError: ``resume`` is missing, unsafe, or of another network or data set.
        TrainingDiverged: the loss became NaN or infinite.
        TrainingStopped: by Ctrl-C, SIGTERM or SIGHUP; ``last.ckpt`` is saved.
    """
    classifier.meet(data, training=True)
    options, shape = dict(trainer_options or {}), classifier.preprocessing
    name = classifier.hparams["name"]
    check_clip(classifier.net, name, frames=shape.frames, size=shape.clip_size)
    writing = not leaves_nothing(options)
    with ExitStack() as stack:
        if writing and is_first_process():
            stack.enter_context(claimed(folder=run_dir))
        stack.enter_context(plain_signals())
        resumed = check_resumable(resume, classifier) if resume else None
        checkpoints = Checkpoints(
            run_dir,
            monitor=f"val/{classifier.task.metric}",
            every_seconds=60 * save_every_minutes,
            every_steps=save_every_steps,
            options=options,
        )
        stack.enter_context(explained(options, last=checkpoints.last))
        step = None if resumed is None else int(resumed["global_step"])
        loggers: list[Logger] = []
        if writing:
            loggers.append(MetricsFile(run_dir, resume_step=step))
        if writing and options.get("logger") is not False:
            loggers.append(
                TensorBoardLogger(
                    run_dir, name="", version="", default_hp_metric=False, purge_step=step
                )
            )
        trainer = make_trainer(
            options,
            callbacks=make_callbacks(
                classifier, checkpoints, root=data.root, seed=seed, options=options
            ),
            loggers=loggers,
            run_dir=str(run_dir),
            sync_batchnorm=classifier.recipe.batch_norm == "sync",
        )
        if "val" not in data.records:
            trainer.limit_val_batches = 0  # also where Lightning's options for trials say others
        if writing and trainer.is_global_zero:
            (run_dir / "hparams.yaml").unlink(missing_ok=True)  # of the run before it went on
            write_census(data.catalogue, run_dir)
            if data.made_split:
                write_split(data, run_dir)
            if config is not None:
                write_text(run_dir / CONFIG, config)
        data.keep_decoded(trainer.max_epochs)
        settings = yaml.safe_load(config) if config else dict(classifier.hparams)
        for logger in trainer.loggers:  # TensorBoard's also writes them to ``hparams.yaml``
            logger.log_hyperparams(settings)
        if trainer.is_global_zero:
            for line in announce(classifier, data, trainer, run_dir=run_dir if writing else None):
                print(line, flush=True)
        path = str(resume) if resume else None
        try:
            trainer.fit(classifier, datamodule=data, ckpt_path=path, weights_only=True)
        except torch.OutOfMemoryError as error:
            raise VideoNLError(way_out(classifier, data, trainer)) from error
        except (RuntimeError, *BROKEN_PIPE) as error:
            # A signal to the process group kills the decoding workers before the step has ended.
            stop = next((c for c in trainer.callbacks if isinstance(c, GracefulStop)), None)  # type: ignore[attr-defined]
            ended = isinstance(error, RuntimeError) or is_lost_worker(error)
            if stop is None or not (stop.requested and ended):
                raise_lost(error, last=checkpoints.last)
            raise stop.stopped() from error
        return result_of(trainer, checkpoints, nothing_left=trainer.global_step == step)


def write_split(data: VideoDataModule, run_dir: Path) -> None:
    """Save the lists of a split that was made here, for resuming and testing."""
    files = ((TRAIN_LIST, data.records["train"]), (VAL_LIST, data.records["val"]))
    write_lists(run_dir, files, data.class_names, root=data.root)


def make_callbacks(
    classifier: VideoClassifier,
    checkpoints: Checkpoints,
    *,
    root: str,
    seed: int,
    options: dict[str, Any],
) -> list[Callback]:
    """The callbacks of a training, in the order in which they act."""
    callbacks: list[Callback] = [StepSeed(seed), ResumePosition(), SpeedMonitor()]
    callbacks.append(BadFiles(root))
    if classifier.recipe.ema:
        callbacks.append(MovingAverage(classifier.recipe.ema))
    if options.get("enable_progress_bar", True):
        callbacks.append(progress_bar())
    callbacks.append(EpochLines())
    if leaves_nothing(options):
        return callbacks
    callbacks.append(RateLog())
    if options.get("enable_checkpointing") is False:
        return callbacks
    return [
        *callbacks,
        Summary(checkpoints),
        GracefulStop(checkpoints),
        checkpoints,
    ]


def result_of(trainer: Trainer, checkpoints: Checkpoints, *, nothing_left: bool) -> FitResult:
    """Collect the result from the callbacks."""
    summary = next((c for c in trainer.callbacks if isinstance(c, Summary)), None)  # type: ignore[attr-defined]
    return FitResult(
        run_dir=checkpoints.folder,
        best=checkpoints.best if checkpoints.best_score is not None else None,
        last=checkpoints.last,
        best_score=checkpoints.best_score,
        epochs=trainer.current_epoch,
        reports=trainer.is_global_zero,
        metric=checkpoints.monitor.rpartition("/")[2],
        videos=summary.best["videos"] if summary and summary.best else 0,
        signs=summary.signs if summary else None,
        nothing_left=nothing_left,
    )
