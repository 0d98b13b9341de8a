"""Small members of the family, for tests and for the sample data: CPU, minutes, ~100k weights.

Depth, width, strides and every other value are options, as of the large ones.
"""

from typing import Any

from torch import nn

from videonl.models.paper import with_non_local
from videonl.models.resnet3d import ResNet3D

# Made for clips of 8 frames at 48×48; res4 sees 8 × 6 × 6 positions.
TINY: dict[str, Any] = {
    "layers": (1, 1, 2),
    "width": 12,
    "stem_stride": (1, 2, 2),
    "pool1_kernel": (1, 1, 1),
    "pool1_stride": (1, 1, 1),
    "pool1_padding": (0, 0, 0),
    "pool2_kernel": (1, 1, 1),
    "head_pool": "global",
    "dropout": 0.0,
    "preprocessing": {"frames": 8, "stride": 2, "short_side": 48, "crop": 48},
}
TINY_PLACES = {1: {"res4": (0,)}, 2: {"res3": (0,), "res4": (0,)}}


@with_non_local(TINY_PLACES)
def tiny_c2d(num_classes: int = 400, **options: Any) -> nn.Module:
    """A small C2D: no convolution sees another frame; the head averages over time."""
    return ResNet3D(num_classes, **{**TINY, "stem_kernel": (1, 5, 5), **options})


@with_non_local(TINY_PLACES)
def tiny_i3d(num_classes: int = 400, **options: Any) -> nn.Module:
    """A small I3D, 3×1×1."""
    inflated = {"inflation": "3x1x1", "stem_kernel": (3, 5, 5)}
    return ResNet3D(num_classes, **{**TINY, **inflated, **options})


@with_non_local(TINY_PLACES)
def tiny_i3d_333(num_classes: int = 400, **options: Any) -> nn.Module:
    """A small I3D, 3×3×3."""
    inflated = {"inflation": "3x3x3", "stem_kernel": (3, 5, 5)}
    return ResNet3D(num_classes, **{**TINY, **inflated, **options})
