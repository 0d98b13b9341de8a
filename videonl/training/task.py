"""Targets, loss and scores for one class per video, and for several."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from videonl.training.metrics import (
    ClassificationMeter,
    MultiLabelMeter,
    MultiLabelScores,
    Scores,
    negative_log,
)
from videonl.training.mixing import one_hot
from videonl.video.transfer import sent


def classification_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy against probabilities.

    Args:
        logits: (B, K).
        targets: (B, K) probabilities: one-hot, or mixed.
        class_weights: (K,); the mean is weighted, so that the learning rate still fits.
        label_smoothing: share of the probability that goes to all classes.

    Returns:
        (the mean, the losses of the clips (B,)).
    """
    losses = F.cross_entropy(
        logits, targets, weight=class_weights, label_smoothing=label_smoothing, reduction="none"
    )
    if class_weights is None:
        return losses.mean(), losses
    return losses.sum() / (targets * class_weights).sum(), losses


def multi_label_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of every class, the mean over the classes.

    Args:
        logits: (B, K).
        targets: (B, K) between 0 and 1: multi-hot, or mixed.
        class_weights: (K,); the mean is over the weights.
        label_smoothing: s; targets 0 become s / 2, targets 1 become 1 - s / 2.

    Returns:
        (the mean, the losses of the clips (B,)).
    """
    soft = targets * (1 - label_smoothing) + label_smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits, soft.to(logits), reduction="none")
    if class_weights is None:
        clips = losses.mean(1)
    else:
        clips = (losses * class_weights.to(losses)).sum(1) / class_weights.sum()
    return clips.mean(), clips


Batch = dict[str, Any]
AnyScores = Scores | MultiLabelScores


class OneClass:
    """How a classifier learns and is measured if every video has one class: softmax, top-1."""

    multi_label = False
    metric = Scores.metric  # by which the best checkpoint is chosen
    loss = staticmethod(classification_loss)
    loss_of = staticmethod(negative_log)  # of probabilities (B, K), per video

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def meter(self, *, training: bool = False) -> ClassificationMeter:  # noqa: ARG002
        """Counts right answers."""
        return ClassificationMeter(self.num_classes)

    def truth(self, batch: Batch) -> Tensor:
        """Class numbers (B,), as the meter and ``targets`` take them; negative if unknown."""
        labels: Tensor = batch["label"]
        return labels

    def miss(self, meter: Any, batch: Batch, *, times: int = 1) -> None:
        """Count the videos of a batch that could not be read as wrong."""
        labels = [numbers[0] for numbers in batch["missing_labels"]]
        if labels:
            meter.miss(torch.tensor(labels).repeat_interleave(times))

    def targets(self, truth: Tensor) -> Tensor:
        """One-hot (B, K), as ``loss`` takes them."""
        return one_hot(truth, self.num_classes)

    def logged(self, scores: Any) -> dict[str, float]:
        """Top-1 of the clips as they were seen."""
        return {"train/top1": scores.top1}


class SeveralClasses:
    """Likewise if a video has any number of classes: sigmoid, mean average precision."""

    multi_label = True
    metric = MultiLabelScores.metric
    loss = staticmethod(multi_label_loss)

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def meter(self, *, training: bool = False) -> MultiLabelMeter:
        """Ranks the videos; in training it only counts."""
        return MultiLabelMeter(self.num_classes, ranking=not training)

    def truth(self, batch: Batch) -> Tensor:
        """Multi-hot (B, K), on the device of the videos."""
        return sent(multi_hot(batch["labels"], self.num_classes), batch["video"].device)

    def miss(self, meter: Any, batch: Batch, *, times: int = 1) -> None:
        """Rank them last in each of their classes."""
        truth = multi_hot(batch["missing_labels"], self.num_classes)
        if len(truth):
            meter.miss(truth.repeat_interleave(times, 0))

    def targets(self, truth: Tensor) -> Tensor:
        """The truth itself."""
        return truth

    def loss_of(self, probabilities: Tensor, truth: Tensor) -> Tensor:
        """Binary cross-entropy per video (B,) of probabilities (B, K)."""
        right = torch.where(truth > 0, probabilities, 1 - probabilities)
        return -right.clamp(min=torch.finfo(right.dtype).tiny).log().mean(1)

    def logged(self, scores: Any) -> dict[str, float]:
        """Hit@1 of the clips as they were seen."""
        return {"train/hit1": scores.hit1}


Task = OneClass | SeveralClasses


def make_task(num_classes: int, *, multi_label: bool) -> Task:
    """The task of a classifier."""
    return SeveralClasses(num_classes) if multi_label else OneClass(num_classes)


def multi_hot(labels: Sequence[Sequence[int]], num_classes: int) -> Tensor:
    """Labels of videos as (B, K) of 0 and 1; negative labels are ignored.

    Example:
        >>> multi_hot([(0, 2), (-1,)], 3).tolist()
        [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    found = torch.zeros(len(labels), num_classes)
    for row, numbers in enumerate(labels):
        found[row, [number for number in numbers if number >= 0]] = 1.0
    return found
