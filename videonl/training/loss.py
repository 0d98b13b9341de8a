"""The loss of a batch of clips."""

import torch.nn.functional as F
from torch import Tensor


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
        class_weights: (K,); the mean is over the weights, so that the rate keeps its meaning.
        label_smoothing: share of the probability that goes to all classes.

    Returns:
        (the mean, the losses of the clips (B,)).
    """
    losses = F.cross_entropy(
        logits, targets, weight=class_weights, label_smoothing=label_smoothing, reduction="none"
    )
    if class_weights is None:
        return losses.mean(), losses
    return losses.sum() / (targets @ class_weights).sum(), losses


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
        label_smoothing: 0 becomes half of it, 1 becomes 1 less half of it.

    Returns:
        (the mean, the losses of the clips (B,)).
    """
    soft = targets * (1 - label_smoothing) + label_smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits, soft.to(logits), reduction="none")
    if class_weights is None:
        clips = losses.mean(1)
    else:
        clips = losses @ class_weights.to(losses) / class_weights.sum()
    return clips.mean(), clips
