"""From a recipe in numbers to an optimiser and a learning-rate schedule."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from videonl.errors import VideoNLError

if TYPE_CHECKING:
    from videonl.training.recipe import Recipe

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
    return int(data.batch_size) * trainer.world_size * trainer.accumulate_grad_batches


def parameter_groups(
    net: nn.Module,
    *,
    rate: float,
    weight_decay: float,
    norm_weight_decay: float,
    fresh: Collection[str] = (),
    fresh_factor: float = 1.0,
) -> list[dict[str, Any]]:
    """Split the trainable parameters by rate and by weight decay.

    Args:
        net: the network.
        rate: learning rate of the loaded parameters.
        weight_decay: of weights.
        norm_weight_decay: of biases and of norms (every parameter with fewer than two dimensions).
        fresh: names of the parameters that start afresh (new head, new non-local blocks).
        fresh_factor: their rate is ``rate * fresh_factor``.

    Returns:
        Groups named base, base/norm, new, new/norm; empty ones are left out.

    Raises:
        VideoNLError: nothing is trainable.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        new, norm = name in fresh and fresh_factor != 1.0, parameter.ndim < 2
        key = ("new" if new else "base") + ("/norm" if norm else "")
        group = groups.setdefault(
            key,
            {
                "params": [],
                "lr": rate * (fresh_factor if new else 1.0),
                "weight_decay": norm_weight_decay if norm else weight_decay,
                "name": key,
            },
        )
        group["params"].append(parameter)
    if not groups:
        raise VideoNLError("no parameter of the network is trainable: everything is frozen")
    return [groups[key] for key in sorted(groups)]


def make_optimizer(
    name: OptimizerName, groups: list[dict[str, Any]], *, momentum: float, fused: bool
) -> torch.optim.Optimizer:
    """SGD with momentum, as the paper, or AdamW.

    Args:
        name: "sgd" or "adamw".
        groups: of ``parameter_groups``; each has its own rate and weight decay.
        momentum: of SGD.
        fused: one kernel for all parameters (CUDA).
    """
    if name == "adamw":
        return torch.optim.AdamW(groups, fused=fused)
    return torch.optim.SGD(groups, momentum=momentum, fused=fused)


def rate_factor(
    name: ScheduleName, *, total: int, warmup: float, milestones: Sequence[float]
) -> Callable[[int], float]:
    """The learning rate over a training, as a factor of its top.

    A pure function of the step, so that a resumed training goes on exactly.

    Args:
        name: "cosine" (to 0), "step" (divided by 10 at every milestone) or "constant".
        total: optimiser steps of the whole training.
        warmup: share of the steps, 0 to 1, that rises linearly to the top.
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


def make_schedule(
    optimizer: torch.optim.Optimizer, factor: Callable[[int], float]
) -> dict[str, Any]:
    """The schedule as Lightning takes it: one update per optimiser step."""
    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step", "name": "lr"}


def configure(
    net: nn.Module, recipe: "Recipe", trainer: Trainer, *, fresh: Collection[str]
) -> dict[str, Any]:
    """Optimiser and schedule of a recipe, as Lightning takes them.

    Args:
        net: the network, on its device.
        recipe: the values.
        trainer: knows devices, batches and precision; its data module knows the batch size.
        fresh: names of the parameters that start afresh.
    """
    batch = global_batch(trainer, trainer.datamodule)  # type: ignore[attr-defined]
    rate = scaled_rate(recipe.learning_rate, batch=batch, reference_batch=recipe.reference_batch)
    groups = parameter_groups(
        net,
        rate=rate,
        weight_decay=recipe.weight_decay,
        norm_weight_decay=recipe.norm_weight_decay,
        fresh=fresh,
        fresh_factor=recipe.fresh_factor,
    )
    scaler = getattr(trainer.precision_plugin, "scaler", None)  # fp16: unscales before clipping
    on_gpu = trainer.strategy.root_device.type == "cuda"
    optimizer = make_optimizer(
        recipe.optimizer, groups, momentum=recipe.momentum, fused=on_gpu and scaler is None
    )
    factor = rate_factor(
        recipe.schedule,
        total=int(trainer.estimated_stepping_batches),
        warmup=recipe.warmup,
        milestones=recipe.milestones,
    )
    return {"optimizer": optimizer, "lr_scheduler": make_schedule(optimizer, factor)}
