"""The Lightning Trainer with the defaults of videonl: few messages, a GPU if there is one."""

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import Precision

from videonl.errors import VideoNLError
from videonl.kernels import cpu_multiplies_bf16
from videonl.limits import above, check_limits, number, whole
from videonl.training.callbacks.checkpoints import AtomicCheckpointIO
from videonl.training.callbacks.theirs import as_list, first_sentence

# Where ours differ from those of Lightning's Trainer; also what `train.py --help_all` shows.
DEFAULTS: dict[str, Any] = {
    "max_epochs": 20,
    "precision": "auto",  # bf16-mixed where a GPU or a CPU's AMX computes in it, else 32-true
    "log_every_n_steps": 10,
    "num_sanity_val_steps": 0,
    "enable_progress_bar": True,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}

# Of a Trainer that is asked only, and trains nothing.
NOTHING_KEPT = {"logger": False, "enable_checkpointing": False}

# Values that Lightning divides by, or accepts without a check.
LIMITS = {
    "accumulate_grad_batches": whole(1),
    "check_val_every_n_epoch": whole(1),
    "gradient_clip_val": number(0),
    "log_every_n_steps": whole(0),
    "num_sanity_val_steps": whole(-1),
}
# With 0 nothing would be trained or validated. Checked for numbers only: they may be a time, too.
NOT_ZERO = ("limit_train_batches", "val_check_interval")

# Warnings of Lightning and torch that a user of videonl cannot act on.
QUIET = (
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*recommended to use .*sync_dist=True.*",
    ".*number of training batches .* is smaller than the logging interval.*",
    ".*LeafSpec.*is deprecated.*",
    ".*resuming from a checkpoint that ended before the epoch ended.*",
    ".*Trying to infer the `batch_size`.*",
    ".*lr_scheduler.step.*before.*optimizer.step.*",
    ".*srun. command is available.*",
    ".*Grad strides do not match bucket view strides.*",  # of 1×1×1 kernels: the same bytes
    ".*module.s. in eval mode at the start of training.*",  # frozen batch norm is meant
    ".*Precision 16-mixed is not supported by the model summary.*",
)


def silence() -> None:
    """Turn off messages that a user cannot act on; errors and real warnings stay."""
    for pattern in QUIET:
        warnings.filterwarnings("ignore", pattern)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What somebody asked for with --trainer.profiler.
    logging.getLogger("lightning.pytorch.profilers.profiler").setLevel(logging.INFO)
    os.environ.setdefault("POSSIBLE_USER_WARNINGS", "0")


def make_trainer(
    options: Mapping[str, Any] | None = None,
    *,
    training: bool = True,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    run_dir: str | None = None,
    sync_batchnorm: bool = False,
) -> Trainer:
    """Make a Trainer.

    Args:
        options: arguments of Lightning's ``Trainer`` by name, over ``DEFAULTS``; callbacks,
            loggers and plugins are added to ours, a progress bar replaces ours.
        training: whether it will train; evaluation is done in full precision.
        callbacks: ours, of the run.
        loggers: ours; none: no logs.
        run_dir: where anything that Lightning writes goes.
        sync_batchnorm: batch-norm statistics over all devices, on GPUs.

    Raises:
        VideoNLError: a value that Lightning refuses, such as a GPU that is not there.
    """
    silence()
    values = {**DEFAULTS, **(options or {})}
    if (values.get("max_steps") or 0) > 0 and "max_epochs" not in (options or {}):
        values["max_epochs"] = -1  # the steps alone end it
    for name, limit in LIMITS.items():
        if values.get(name) is not None:
            check_limits({f"--trainer.{name}": limit}, {f"--trainer.{name}": values[name]})
    for name in NOT_ZERO if training else ():
        if isinstance(values.get(name), int | float):
            check_limits({f"--trainer.{name}": above(0)}, {f"--trainer.{name}": values[name]})
    if values.get("default_root_dir") and Path(values["default_root_dir"]).is_file():
        raise VideoNLError(
            f"--trainer.default_root_dir {values['default_root_dir']} is a file; give a folder"
        )
    if values["use_distributed_sampler"]:
        raise VideoNLError(
            "--trainer.use_distributed_sampler true is not supported, since the data loaders split "
            "the videos among the processes themselves; leave it out"
        )
    asked, cuda = values.get("accelerator", "auto"), torch.cuda.is_available()
    other = asked == "gpu" and torch.backends.mps.is_available()
    if asked in ("gpu", "cuda") and not cuda and not other:
        raise VideoNLError(
            f"--trainer.accelerator {asked}: no GPU of this machine can be used (videonl doctor "
            "tells more); leave it out to train on what is there"
        )
    gpu = asked in ("auto", "gpu", "cuda") and cuda
    theirs = as_list(values.get("callbacks"))
    if not training:
        values["enable_checkpointing"] = False
        theirs = [callback for callback in theirs if not isinstance(callback, Checkpoint)]
    if any(isinstance(callback, ProgressBar) for callback in theirs):
        callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    values["callbacks"] = [*callbacks, *theirs]
    # Only a bar that is there: without one Lightning would add its own.
    if not any(isinstance(callback, ProgressBar) for callback in values["callbacks"]):
        values["enable_progress_bar"] = False
    values["logger"] = [*loggers, *as_list(values.get("logger"))] or False
    values["plugins"] = as_list(values.get("plugins"))
    if not any(isinstance(plugin, CheckpointIO) for plugin in values["plugins"]):
        values["plugins"].append(AtomicCheckpointIO())
    if any(isinstance(plugin, Precision) for plugin in values["plugins"]):
        if values["precision"] == "auto":  # Lightning takes one or the other
            values["precision"] = None
    else:
        values["precision"] = choose_precision(values["precision"], gpu=gpu, training=training)
    values["sync_batchnorm"] = bool(gpu and (sync_batchnorm or values.get("sync_batchnorm")))
    if values.get("benchmark") is None:
        values["benchmark"] = gpu and not values.get("deterministic")
    if values.get("enable_checkpointing") is None:
        values["enable_checkpointing"] = not leaves_nothing(values)
    if values.get("default_root_dir") is None:
        values["default_root_dir"] = run_dir
    if values.get("barebones"):  # which refuses what it switches off
        values["enable_progress_bar"] = None
        if values["log_every_n_steps"] == DEFAULTS["log_every_n_steps"]:
            values["log_every_n_steps"] = None
    try:
        return Trainer(**values)
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise VideoNLError(f"--trainer: {first_sentence(error)}") from error


def leaves_nothing(options: Mapping[str, Any]) -> bool:
    """Whether a training is a trial run that writes neither logs nor checkpoints."""
    return bool(options.get("fast_dev_run") or options.get("barebones"))


def choose_precision(precision: Any, *, gpu: bool, training: bool) -> Any:
    """What "auto" means: bf16-mixed for training where it is fast, else 32-true."""
    if precision != "auto":
        return precision
    fast = torch.cuda.is_bf16_supported() if gpu else cpu_multiplies_bf16()
    return "bf16-mixed" if training and fast else "32-true"
