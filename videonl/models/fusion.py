"""Batch norm folded into the convolution before it: for inference only, equal up to rounding.

With stored statistics a batch norm is ``y = s · x + b`` per channel, so ``norm(conv(x))`` is a
convolution with the weights ``s · W`` and the bias ``b``: one pass over every map less.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from videonl.models.norms import Affine3d

PAIRS = (
    *(("conv", "norm"), ("conv_a", "norm_a"), ("conv_b", "norm_b"), ("conv_c", "norm_c")),
    ("out", "norm"),  # W_z of a non-local block
)
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def fuse_for_inference(model: nn.Module, *, in_place: bool = False) -> nn.Module:
    """A network in evaluation mode whose norms are folded into its convolutions.

    What is folded: in any submodule, a ``conv`` with the ``norm`` beside it (likewise ``conv_a``
    and ``norm_a``, ``_b``, ``_c``), as the networks of ``ResNet3D`` name them, and ``out`` with
    ``norm`` in a non-local block. Everything else stays as it is, and so does a pair on which
    somebody hooked. The names of the modules stay; a folded norm is an ``nn.Identity``.

    Args:
        model: any network.
        in_place: change the network itself, where nobody else needs it; else a copy.

    Returns:
        The fused network; it can not be trained, and its state dict is another.
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
    """Whether ``norm`` is a fixed scale and shift, and nobody watches what lies in between."""
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
