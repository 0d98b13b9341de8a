"""The Lightning Trainer as videonl wants it: quiet, on the GPU where there is one."""

import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger

from videonl.errors import VideoNLError
from videonl.training.checkpoints import AtomicCheckpointIO

# What Lightning and torch say that no user of videonl can act on.
QUIET = (
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*recommended to use .*sync_dist=True.*",
    ".*number of training batches .* is smaller than the logging interval.*",
    ".*LeafSpec.*is deprecated.*",
    ".*resuming from a checkpoint that ended before the epoch ended.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*Trying to infer the `batch_size`.*",
    ".*lr_scheduler.step.*before.*optimizer.step.*",
    ".*srun. command is available.*",
    ".*Grad strides do not match bucket view strides.*",  # of 1×1×1 kernels: the same bytes
    ".*module.s. in eval mode at the start of training.*",  # frozen batch norm is meant
    ".*The .*predict_dataloader.* does not have many workers.*",
    ".*Precision 16-mixed is not supported by the model summary.*",
)


def silence() -> None:
    """Turn off messages that a user can not act on; errors and real warnings stay."""
    for pattern in QUIET:
        warnings.filterwarnings("ignore", pattern)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("POSSIBLE_USER_WARNINGS", "0")


def make_trainer(
    *,
    max_epochs: int = 20,
    max_steps: int = -1,
    max_time: str | None = None,
    accelerator: str = "auto",
    devices: int | str = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: str = "auto",
    accumulate_grad_batches: int = 1,
    gradient_clip_val: float | None = None,
    check_val_every_n_epoch: int = 1,
    log_every_n_steps: int = 10,
    limit_train_batches: float | int | None = None,
    limit_val_batches: float | int | None = None,
    limit_test_batches: float | int | None = None,
    limit_predict_batches: float | int | None = None,
    overfit_batches: float | int = 0.0,
    fast_dev_run: bool | int = False,
    deterministic: bool | None = None,
    benchmark: bool | None = None,
    enable_progress_bar: bool = True,
    profiler: str | None = None,
    training: bool = True,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    run_dir: str | None = None,
    sync_batchnorm: bool = False,
) -> Trainer:
    """Make a Trainer; the names are Lightning's.

    Args:
        max_epochs: passes over the training set.
        max_steps: optimiser steps after which the training ends; -1: only ``max_epochs`` counts.
        max_time: longest time, DD:HH:MM:SS.
        accelerator: "auto" takes a GPU where there is one; "cpu", "gpu".
        devices: how many; "auto" is all.
        num_nodes: machines.
        strategy: "auto", or "ddp" and so on.
        precision: "auto": bf16-mixed where a GPU trains and knows it, else 32-true.
        accumulate_grad_batches: batches per optimiser step.
        gradient_clip_val: largest norm of the gradient.
        check_val_every_n_epoch: epochs from one validation to the next.
        log_every_n_steps: steps from one row of the logs to the next.
        limit_train_batches: number, or share below 1, of the training batches.
        limit_val_batches: likewise of the validation.
        limit_test_batches: likewise of the test.
        limit_predict_batches: likewise of predict.
        overfit_batches: train and validate on these few batches, to see whether a model can learn.
        fast_dev_run: one batch of everything, to see whether it runs.
        deterministic: only algorithms that give the same bits every time.
        benchmark: let cuDNN try its algorithms; default: on a GPU, unless ``deterministic``.
        enable_progress_bar: draw one, on a terminal.
        profiler: "simple" or "advanced".
        training: whether it will train; evaluation is done in full precision.
        callbacks: of the run.
        loggers: of the run; none: no logs.
        run_dir: where anything that Lightning writes goes.
        sync_batchnorm: batch-norm statistics over all devices.

    Raises:
        VideoNLError: a value that Lightning refuses, such as a GPU that is not there.
    """
    silence()
    gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    try:
        return Trainer(
            max_epochs=max_epochs,
            max_steps=max_steps,
            max_time=max_time,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=strategy,
            precision=choose_precision(precision, gpu=gpu, training=training),  # type: ignore[arg-type]
            accumulate_grad_batches=accumulate_grad_batches,
            gradient_clip_val=gradient_clip_val,
            check_val_every_n_epoch=check_val_every_n_epoch,
            log_every_n_steps=log_every_n_steps,
            limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches,
            limit_test_batches=limit_test_batches,
            limit_predict_batches=limit_predict_batches,
            overfit_batches=overfit_batches,
            fast_dev_run=fast_dev_run,
            deterministic=deterministic,
            benchmark=(gpu and not deterministic) if benchmark is None else benchmark,
            # Only a bar of ours: without one Lightning would add its own.
            enable_progress_bar=enable_progress_bar
            and any(isinstance(callback, ProgressBar) for callback in callbacks),
            enable_model_summary=False,
            enable_checkpointing=training and not fast_dev_run,
            num_sanity_val_steps=0,
            profiler=profiler,
            callbacks=list(callbacks),
            logger=list(loggers) or False,
            default_root_dir=run_dir,
            plugins=[AtomicCheckpointIO()],
            sync_batchnorm=sync_batchnorm and gpu,
            use_distributed_sampler=False,  # the loaders split the videos themselves, unpadded
        )
    except (ValueError, TypeError, RuntimeError) as error:  # Lightning's MisconfigurationException
        raise VideoNLError(f"--trainer: {first_sentence(error)}") from error
    except Exception as error:
        if type(error).__name__ != "MisconfigurationException":
            raise
        raise VideoNLError(f"--trainer: {first_sentence(error)}") from error


def choose_precision(precision: str, *, gpu: bool, training: bool) -> str:
    """What "auto" means: bf16-mixed for training on a GPU that computes in it, else 32-true."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if gpu and training and torch.cuda.is_bf16_supported() else "32-true"


def first_sentence(error: Exception) -> str:
    """The first line of a message of Lightning's, without its markup."""
    lines = str(error).strip().splitlines()
    return lines[0].replace("`", "").rstrip(".") if lines else type(error).__name__


def hardware() -> dict[str, Any]:
    """Devices and their names, for a result file."""
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"gpus": names, "cpus": os.cpu_count(), "cpu_threads": torch.get_num_threads()}
