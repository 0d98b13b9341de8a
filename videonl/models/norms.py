"""Normalisations that keep no statistics of the batch: for long clips, few clips, fine-tuning."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

NORMS = ("batch", "frozen", "affine")


class FrozenBatchNorm3d(nn.BatchNorm3d):
    """Batch norm that always uses its stored statistics and never learns.

    Freezing by hand is lost at the next ``model.train()`` (Lightning calls it every epoch); this
    class stays in evaluation mode. Its state-dict keys are those of ``nn.BatchNorm3d``.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__(num_features, eps=eps)
        self.weight.requires_grad_(False)
        self.bias.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> "FrozenBatchNorm3d":  # noqa: ARG002
        """Stay in evaluation mode, whatever is asked."""
        return super().train(False)


class Affine3d(nn.Module):
    """A trained scale and shift per channel, no statistics: ``y = weight · x + bias``.

    The "affine" models of the paper's released code (32×4 and 128×1 clips) are batch norm with
    the statistics folded into this scale and shift, so that a batch of one clip can be trained.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift ``x`` (B, C, T, H, W)."""
        shape = (1, -1, 1, 1, 1)
        return torch.addcmul(self.bias.view(shape), x, self.weight.view(shape))

    def extra_repr(self) -> str:
        """The channels, as ``nn.BatchNorm3d`` prints them."""
        return str(self.num_features)


def norm_factory(norm: str, eps: float) -> Callable[[int], nn.Module]:
    """The constructor of a norm by name, from the number of channels.

    Args:
        norm: ``"batch"``, ``"frozen"`` (batch norm that keeps its statistics and does not
            learn) or ``"affine"`` (scale and shift, no statistics).
        eps: added to the variance; the affine norm has none.
    """
    if norm == "batch":
        return lambda channels: nn.BatchNorm3d(channels, eps=eps)
    if norm == "frozen":
        return lambda channels: FrozenBatchNorm3d(channels, eps=eps)
    if norm == "affine":
        return Affine3d
    raise ValueError(f"norm is {norm!r}; it must be one of {', '.join(NORMS)}")
