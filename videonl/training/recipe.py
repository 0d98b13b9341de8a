"""A training recipe: the settings of the optimisation, with their limits."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LambdaLR

from videonl.errors import VideoNLError
from videonl.layers import Affinity
from videonl.limits import Choice, Limit, check_limits, number, one_of, whole

OptimizerName = Literal["sgd", "adamw"]
ScheduleName = Literal["cosine", "step", "constant"]


def scaled_rate(rate: float, *, batch: int, reference_batch: int) -> float:
    """The learning rate for a global batch: linear scaling (Goyal et al., 2017, section 2.1).

    Args:
        rate: the rate at ``reference_batch``.
        batch: clips per optimiser step, over all devices and accumulated batches.
        reference_batch: the batch that ``rate`` was chosen for; 0 means: do not scale.

    Example:
        >>> scaled_rate(0.01, batch=8, reference_batch=64)
        0.00125
    """
    return rate * batch / reference_batch if reference_batch else rate


def global_batch(trainer: Trainer, data: Any) -> int:
    """Clips per optimiser step: over all devices and accumulated batches.

    Args:
        trainer: knows the devices.
        data: the data module, with the ``batch_size`` of one device.
    """
    clips = int(data.clips_per_batch(trainer.world_size))
    return clips * trainer.world_size * batches_per_step(trainer, data)


def _kind(module: nn.Module, name: str, parameter: nn.Parameter) -> str:
    """Which weight decay a parameter of a module gets: "weight", "bias" or "norm"."""
    own = module.parameters(recurse=False)
    if isinstance(module, Affinity):  # w_f is a weight, though it is a vector
        return "bias" if name == "bias" else "weight"
    if parameter.ndim >= 2:
        return "weight"
    return "bias" if name.endswith("bias") and any(p.ndim >= 2 for p in own) else "norm"


def parameter_groups(
    net: nn.Module,
    *,
    rate: float,
    weight_decay: float,
    norm_weight_decay: float,
    bias_weight_decay: float | None = None,
    fresh: Collection[str] = (),
    fresh_factor: float = 1.0,
) -> list[dict[str, Any]]:
    """Split the trainable parameters by rate and by weight decay.

    Args:
        net: the network.
        rate: learning rate of the loaded parameters.
        weight_decay: of weights.
        norm_weight_decay: of scale and shift of norms, and of other values per channel.
        bias_weight_decay: of the biases of convolutions and linear layers; None: as of norms.
        fresh: names of the new parameters (new head, new non-local blocks).
        fresh_factor: their rate is ``rate * fresh_factor``.

    Returns:
        Groups named base, base/bias, base/norm, new, new/bias, new/norm; empty ones are left out,
        and biases are in the group of norms where both decay alike.

    Raises:
        VideoNLError: no parameter is trainable.
    """
    decays = {"weight": weight_decay, "norm": norm_weight_decay, "bias": norm_weight_decay}
    if bias_weight_decay is not None:
        decays["bias"] = bias_weight_decay
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        path, _, last = name.rpartition(".")
        kind = _kind(net.get_submodule(path), last, parameter)
        if kind == "bias" and decays["bias"] == decays["norm"]:
            kind = "norm"
        new = name in fresh and fresh_factor != 1.0
        key = ("new" if new else "base") + ("" if kind == "weight" else f"/{kind}")
        group = groups.setdefault(
            key,
            {
                "params": [],
                "lr": rate * (fresh_factor if new else 1.0),
                "weight_decay": decays[kind],
                "name": key,
            },
        )
        group["params"].append(parameter)
    if not groups:
        raise VideoNLError(
            "no parameter of the network is trainable: all are frozen (requires_grad=False)"
        )
    return [groups[key] for key in sorted(groups)]


def make_optimizer(
    name: OptimizerName,
    groups: list[dict[str, Any]],
    *,
    momentum: float,
    nesterov: bool = False,
    beta2: float,
    fused: bool,
) -> torch.optim.Optimizer:
    """SGD with momentum, as the paper, or AdamW.

    Args:
        name: "sgd" or "adamw".
        groups: of ``parameter_groups``; each has its own rate and weight decay.
        momentum: of SGD.
        nesterov: whether it is Nesterov's.
        beta2: of AdamW.
        fused: one kernel for all parameters (CUDA).
    """
    if name == "adamw":
        return torch.optim.AdamW(groups, betas=(0.9, beta2), fused=fused)
    return torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov, fused=fused)


def rate_factor(
    name: ScheduleName, *, total: int, warmup: float, milestones: Sequence[float]
) -> Callable[[int], float]:
    """The learning rate over a training, as a factor of the highest rate.

    A pure function of the step, so that a resumed training continues exactly.

    Args:
        name: "cosine" (to 0), "step" (divided by 10 at every milestone) or "constant".
        total: optimiser steps of the whole training.
        warmup: share of the steps, 0 to 1, in which the rate rises linearly.
        milestones: shares of the steps, 0 to 1. The paper's 150k and 300k of 400k: 0.375, 0.75.

    Example:
        >>> factor = rate_factor("step", total=400, warmup=0.0, milestones=(0.375, 0.75))
        >>> [round(factor(step), 3) for step in (0, 149, 150, 300)]
        [1.0, 1.0, 0.1, 0.01]
    """
    rising = round(total * warmup)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        if name == "cosine":
            done = (step - rising) / max(total - rising, 1)
            return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        if name == "step":
            return 0.1 ** sum(step >= round(total * at) for at in milestones)
        return 1.0

    return factor


def configure(
    net: nn.Module, recipe: "Recipe", trainer: Trainer, *, fresh: Collection[str]
) -> dict[str, Any]:
    """Optimiser and schedule of a recipe, as Lightning takes them.

    Args:
        net: the network, on its device.
        recipe: the values.
        trainer: knows devices, batches and precision; its data module knows the batch size.
        fresh: names of the new parameters.
    """
    batch = global_batch(trainer, trainer.datamodule)  # type: ignore[attr-defined]
    rate = scaled_rate(recipe.learning_rate, batch=batch, reference_batch=recipe.reference_batch)
    groups = parameter_groups(
        net,
        rate=rate,
        weight_decay=recipe.weight_decay,
        norm_weight_decay=recipe.norm_weight_decay,
        bias_weight_decay=recipe.bias_weight_decay,
        fresh=fresh,
        fresh_factor=recipe.fresh_factor,
    )
    scaler = getattr(trainer.precision_plugin, "scaler", None)  # fp16: unscales before clipping
    on_gpu = trainer.strategy.root_device.type == "cuda"
    optimizer = make_optimizer(
        recipe.optimizer,
        groups,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        beta2=recipe.beta2,
        fused=on_gpu and scaler is None,
    )
    total = trainer.estimated_stepping_batches
    check_end(recipe, total)
    factor = rate_factor(
        recipe.schedule,
        total=int(total) if math.isfinite(total) else 0,
        warmup=recipe.warmup,
        milestones=recipe.milestones,
    )
    schedule = {"scheduler": LambdaLR(optimizer, factor), "interval": "step", "name": "lr"}
    return {"optimizer": optimizer, "lr_scheduler": schedule}


def check_end(recipe: "Recipe", steps: float) -> None:
    """Refuse a schedule over a training whose length is not known.

    Args:
        recipe: the values.
        steps: of the whole training; infinite where only the time ends it.

    Raises:
        VideoNLError: the schedule needs to know the end.
    """
    if math.isinf(steps) and (recipe.schedule != "constant" or recipe.warmup):
        raise VideoNLError(
            f"--recipe.schedule {recipe.schedule} with --recipe.warmup {recipe.warmup:g} needs to "
            "know how many steps the training has: give --trainer.max_epochs or "
            "--trainer.max_steps, or --recipe.schedule constant --recipe.warmup 0"
        )


def batch_norms(net: nn.Module, *, exclude: Collection[str] = ()) -> list[_BatchNorm]:
    """The batch norms of a network.

    Args:
        net: any network.
        exclude: parameter names; a batch norm that owns one of them is left out.
    """
    return [
        module
        for name, module in net.named_modules()
        if isinstance(module, _BatchNorm)
        and not any(f"{name}.{leaf}" in exclude for leaf, _ in module.named_parameters())
    ]


def freeze(norms: Collection[_BatchNorm]) -> None:
    """Use the stored statistics and stop the gradients; call it again after every ``train()``.

    The paper trains its long-clip networks with frozen batch norms ("affine"), and fine-tuning on
    few videos per device needs them: the statistics of two clips are too noisy.
    """
    for norm in norms:
        norm.eval()
        norm.requires_grad_(False)


def set_rates(trainer: Trainer, rates: Sequence[float], *, position: int | None) -> None:
    """Give the optimiser of a resumed training the rates of its recipe.

    The rates in its checkpoint may be those of another batch size, number of processes or
    accumulation. If none of these has changed, neither do the rates.

    Args:
        trainer: whose optimiser and schedule were restored.
        rates: the highest rate of every group of parameters.
        position: steps of the schedule that are done; None for those of the checkpoint.
    """
    for config in trainer.lr_scheduler_configs:
        schedule: Any = config.scheduler
        if position is not None:
            schedule.last_epoch = position
        schedule.base_lrs = list(rates)
        factors = [factor(schedule.last_epoch) for factor in schedule.lr_lambdas]
        for group, rate, factor in zip(
            schedule.optimizer.param_groups, rates, factors, strict=True
        ):
            group["initial_lr"], group["lr"] = rate, rate * factor
        schedule._last_lr = [group["lr"] for group in schedule.optimizer.param_groups]


BatchNormMode = Literal["train", "frozen", "sync"]
ClassWeights = Literal["none", "balanced"]


LIMITS: dict[str, Limit | Choice] = {
    "optimizer": one_of(*get_args(OptimizerName)),
    "schedule": one_of(*get_args(ScheduleName)),
    "batch_norm": one_of(*get_args(BatchNormMode)),
    "class_weights": one_of(*get_args(ClassWeights)),
    "learning_rate": number(0, 1e3),
    "reference_batch": whole(0, 1e9),
    "momentum": number(0, 1),
    "beta2": number(0, 0.999999),
    "weight_decay": number(0, 10),
    "norm_weight_decay": number(0, 10),
    "bias_weight_decay": number(0, 10),
    "warmup": number(0, 1),
    "milestones": Limit(0, 1, length=-1),
    "fresh_factor": number(0, 1e4),
    "label_smoothing": number(0, 0.999),
    "mixup": number(0, 100),
    "cutmix": number(0, 100),
    "ema": number(0, 0.999999),
}


@dataclass(frozen=True)
class Recipe:
    """How to optimise; every value is an option, such as ``--recipe.learning_rate 0.02``.

    Attributes:
        learning_rate: the rate for a global batch of ``reference_batch`` clips.
        reference_batch: the rate is scaled by the global batch over this; 0: not scaled.
        optimizer: "sgd" or "adamw".
        momentum: momentum of SGD.
        nesterov: use Nesterov's momentum, as the paper's released networks did.
        beta2: decay of AdamW's mean of squared gradients; 0.999 averages over about a thousand
            steps, which can be too long for a short training.
        weight_decay: weight decay of weights.
        norm_weight_decay: weight decay of the scale and shift of norms.
        bias_weight_decay: weight decay of the biases of convolutions and of the classifier; none:
            that of norms.
        schedule: "cosine", "step" or "constant".
        warmup: share of the training, 0 to 1, in which the rate rises.
        milestones: shares of the training after which "step" divides the rate by 10.
        fresh_factor: the rate of new layers (head, new non-local blocks), as a multiple of the
            rate of loaded ones.
        label_smoothing: share of a label that is spread over all classes, 0 to 1.
        mixup: alpha of mixup (Zhang et al., 2018); 0 is off.
        cutmix: alpha of cutmix (Yun et al., 2019), one box for all frames; 0 is off.
        batch_norm: "train", "frozen" (fixed statistics, scale and shift, except in new layers) or
            "sync" (statistics over all devices).
        class_weights: "none", or "balanced" to weight the loss as if all classes were as frequent.
        checkpoint_stages: stages of the network, such as [res2, res3], whose activations are
            recomputed in the backward pass, which saves memory and takes time; --model.compile
            does not compile them.
        ema: decay of an exponential moving average of the weights, which is what is evaluated
            and saved; 0 is off, 0.999 is usual.
    """

    learning_rate: float = 0.01
    reference_batch: int = 64
    optimizer: OptimizerName = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    beta2: float = 0.999
    weight_decay: float = 1e-4
    norm_weight_decay: float = 0.0
    bias_weight_decay: float | None = None
    schedule: ScheduleName = "cosine"
    warmup: float = 0.05
    milestones: Sequence[float] = (0.375, 0.75)
    fresh_factor: float = 1.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    batch_norm: BatchNormMode = "train"
    class_weights: ClassWeights = "none"
    ema: float = 0.0
    checkpoint_stages: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            VideoNLError: names the value and its range.
        """
        check_limits(LIMITS, {name: v for name, v in vars(self).items() if v is not None})
        if not isinstance(self.nesterov, bool):
            raise VideoNLError(f"nesterov is {self.nesterov!r}; it must be true or false")
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise VideoNLError(
                f"nesterov needs optimizer sgd with a momentum, not {self.optimizer} with "
                f"{self.momentum}"
            )
        if isinstance(self.checkpoint_stages, str):
            raise VideoNLError(
                f"checkpoint_stages is {self.checkpoint_stages!r}; write a list, such as [res2]"
            )

    def as_primitives(self) -> dict[str, Any]:
        """The values as a checkpoint may hold them."""
        return {
            name: list(value)
            if isinstance(value, Sequence) and not isinstance(value, str)
            else value
            for name, value in vars(self).items()
        }


def make_recipe(values: Recipe | Mapping[str, Any] | None) -> Recipe:
    """A recipe, or one from values by name.

    Raises:
        VideoNLError: an unknown name, or a value out of its range.
    """
    if isinstance(values, Recipe):
        return values
    unknown = set(values or {}) - set(Recipe.__dataclass_fields__)
    if unknown:
        known = ", ".join(Recipe.__dataclass_fields__)
        raise VideoNLError(f"a recipe has no {', '.join(sorted(unknown))}; it has {known}")
    return Recipe(**(values or {}))


def loss_weight(trainer: Trainer, batch_idx: int) -> float:
    """What the loss of a batch is multiplied by, so that every step takes the mean of its batches.

    An epoch rarely holds a multiple of ``accumulate_grad_batches``. Lightning divides every loss by
    that number, also in the last, incomplete step of an epoch (Lightning#19987), which would then
    be shorter than the others by the share that is missing.

    Args:
        trainer: in its training; knows how many batches an epoch has.
        batch_idx: number of the batch in its epoch, from 0.
    """
    asked = trainer.accumulate_grad_batches
    if asked == 1 or trainer.strategy.handles_gradient_accumulation:
        return 1.0
    first = batch_idx // asked * asked  # of the batches of this step
    return asked / min(asked, trainer.num_training_batches - first)


def batches_per_step(trainer: Trainer, data: Any) -> int:
    """Batches per step and process: as many as were asked for, at most those of an epoch.

    Args:
        trainer: knows the processes and the limits.
        data: a ``VideoDataModule`` that was set up.
    """
    return min(trainer.accumulate_grad_batches, batches_per_epoch(trainer, data))


def batches_per_epoch(trainer: Trainer, data: Any) -> int:
    """Training batches of an epoch and process, at least 1; the arguments are as above."""
    batches, limit = data.training_batches(trainer.world_size), trainer.limit_train_batches
    if limit is not None:
        batches = min(batches, limit if isinstance(limit, int) else int(batches * limit))
    return max(1, batches)
