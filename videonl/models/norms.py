"""Norms without batch statistics (for long clips, few clips, fine-tuning), and folding of norms.

Folding a batch norm into the convolution before it is for inference only, and equal up to rounding.

With stored statistics a batch norm is ``y = s · x + b`` per channel, so ``norm(conv(x))`` is a
convolution with the weights ``s · W`` and the bias ``b``: one pass over every map less.
"""

from collections.abc import Callable
from copy import deepcopy

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
        """Stay in evaluation mode, whatever ``mode`` is."""
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


PAIRS = (
    *(("conv", "norm"), ("conv_a", "norm_a"), ("conv_b", "norm_b"), ("conv_c", "norm_c")),
    ("out", "norm"),  # W_z of a non-local block
)
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def fuse_for_inference(model: nn.Module, *, in_place: bool = False) -> nn.Module:
    """A network in evaluation mode whose norms are folded into its convolutions.

    Folded are, in any submodule, a ``conv`` with the ``norm`` beside it (likewise ``conv_a`` and
    ``norm_a``, ``_b``, ``_c``), as the networks of ``ResNet3D`` name them, and ``out`` with
    ``norm`` in a non-local block. Everything else is unchanged, and so is a pair with a forward
    hook. The names of the modules stay; a folded norm becomes an ``nn.Identity``.

    Args:
        model: any network.
        in_place: change the network itself instead of a copy.

    Returns:
        The fused network; it cannot be trained, and its state dict differs.
    """
    fused = (model if in_place else deepcopy(model)).eval()
    for module in list(fused.modules()):
        for conv_name, norm_name in PAIRS:
            conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
            if isinstance(conv, nn.Conv3d) and norm is not None and foldable(conv, norm):
                fold(conv, norm)
                setattr(module, norm_name, nn.Identity())
    return fused.requires_grad_(False)


def foldable(conv: nn.Conv3d, norm: nn.Module) -> bool:
    """Whether ``norm`` is a fixed scale and shift, and no hook sees the values in between."""
    if any(getattr(module, hooks) for module in (conv, norm) for hooks in HOOKS):
        return False
    if isinstance(norm, nn.BatchNorm3d):
        return norm.running_mean is not None
    return isinstance(norm, Affine3d)


@torch.no_grad()
def fold(conv: nn.Conv3d, norm: nn.Module) -> None:
    """Give the convolution the weights and the bias of ``norm(conv(x))``."""
    scale, shift = scale_and_shift(norm)
    if conv.bias is not None:
        shift = shift + scale * conv.bias.double()
    conv.weight.mul_(scale.to(conv.weight.dtype).view(-1, 1, 1, 1, 1))
    conv.bias = nn.Parameter(shift.to(conv.weight.dtype))


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """``(s, b)`` in float64 with ``norm(x) = s · x + b`` per channel."""
    if isinstance(norm, Affine3d):
        return norm.weight.double(), norm.bias.double()
    assert isinstance(norm, nn.BatchNorm3d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()
