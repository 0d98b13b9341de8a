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
