"""A training recipe: the values that say how a network is optimised, checked once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from videonl.errors import VideoNLError
from videonl.training.optimization import OptimizerName, ScheduleName

BatchNormMode = Literal["train", "frozen", "sync"]
ClassWeights = Literal["none", "balanced"]


@dataclass(frozen=True)
class Recipe:
    """How to optimise; every value has a command-line flag: ``--recipe.learning_rate 0.02``.

    Attributes:
        learning_rate: at a global batch of ``reference_batch`` clips.
        reference_batch: the rate scales linearly from here; 0 takes the rate as it is.
        optimizer: "sgd" or "adamw".
        momentum: of SGD.
        weight_decay: of weights.
        norm_weight_decay: of biases and of norm scales.
        schedule: "cosine", "step" or "constant".
        warmup: share of the training, 0 to 1, in which the rate rises.
        milestones: shares of the training at which "step" divides by 10.
        fresh_factor: the rate of new layers (head, new non-local blocks) over that of loaded ones.
        label_smoothing: 0 to 1.
        mixup: alpha of mixup (Zhang et al., 2018); 0 is off.
        cutmix: alpha of cutmix (Yun et al., 2019), one box for all frames; 0 is off.
        batch_norm: "train", "frozen" (statistics, scale and shift, but not of new layers) or
            "sync" (statistics over all devices).
        class_weights: "none", or "balanced": the loss of a class weighs as if all were as frequent.
        checkpoint_stages: stages of the network, such as [res2, res3], whose activations are
            computed again in the backward pass instead of kept: less memory, more time;
            --model.compile leaves them uncompiled.
        ema: decay of an exponential moving average of the weights, which is what is evaluated
            and saved; 0 is off, 0.999 is usual.
    """

    learning_rate: float = 0.01
    reference_batch: int = 64
    optimizer: OptimizerName = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    norm_weight_decay: float = 0.0
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
        allowed: dict[str, tuple[str, ...]] = {
            "optimizer": ("sgd", "adamw"),
            "schedule": ("cosine", "step", "constant"),
            "batch_norm": ("train", "frozen", "sync"),
            "class_weights": ("none", "balanced"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise VideoNLError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(values)}"
                )
        ranges: dict[str, tuple[float, float]] = {
            "learning_rate": (0.0, 1e3),
            "reference_batch": (0, 1e9),
            "momentum": (0.0, 1.0),
            "weight_decay": (0.0, 10.0),
            "norm_weight_decay": (0.0, 10.0),
            "warmup": (0.0, 1.0),
            "fresh_factor": (0.0, 1e4),
            "label_smoothing": (0.0, 0.999),
            "mixup": (0.0, 100.0),
            "cutmix": (0.0, 100.0),
            "ema": (0.0, 0.999999),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise VideoNLError(f"{name} is {value}; it must lie between {low:g} and {high:g}")
        if isinstance(self.checkpoint_stages, str):
            raise VideoNLError(
                f"checkpoint_stages is {self.checkpoint_stages!r}; write a list, such as [res2]"
            )
        if any(not 0 <= at <= 1 for at in self.milestones):
            raise VideoNLError(
                f"milestones is {list(self.milestones)}; every one is a share of the training, "
                "between 0 and 1"
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
        raise VideoNLError(f"a recipe has no {', '.join(sorted(unknown))}")
    return Recipe(**(values or {}))
