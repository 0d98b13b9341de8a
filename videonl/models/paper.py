"""The networks of the paper by name, each also with 1, 5 and 10 non-local blocks.

    c2d_r50  c2d_r101  i3d_r50  i3d_r101  i3d_r50_333  i3d_r101_333  slowonly_r50
    each + _nl1 _nl5 _nl10 (slowonly_r50: _nl5)

A name implies depth, inflation and the places of the blocks; the rest are options of ``ResNet3D``,
such as ``preset="official_32x2"`` or ``non_local={"res2": (1,)}``. An option overrides the name.

Small members of the family, for tests and for the sample data: CPU, minutes, ~100k weights.

Depth, width, strides and every other value are options, as for the large ones.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from videonl.models.placement import NON_LOCAL_BLOCKS, SLOW
from videonl.models.registry import register_name
from videonl.models.resnet3d import ResNet3D

Factory = Callable[..., nn.Module]


def with_non_local(
    variants: Mapping[int, Mapping[str, Sequence[int]]],
) -> Callable[[Factory], Factory]:
    """Register a factory under its name and, with non-local blocks, under its name + _nl<count>.

    Args:
        variants: number of blocks -> stage -> residual blocks that they follow.
    """

    def register(factory: Factory) -> Factory:
        register_name(factory.__name__, factory, options_of=ResNet3D)
        for count, places in variants.items():
            name = f"{factory.__name__}_nl{count}"
            register_name(name, placed(factory, places), options_of=ResNet3D)
        return factory

    return register


def placed(factory: Factory, places: Mapping[str, Sequence[int]]) -> Factory:
    """The factory with non-local blocks at ``places``, unless the caller says otherwise."""

    def variant(num_classes: int = 400, **options: Any) -> nn.Module:
        return factory(num_classes, **{"non_local": places, **options})

    return variant


@with_non_local(NON_LOCAL_BLOCKS[50])
def c2d_r50(num_classes: int = 400, **options: Any) -> nn.Module:
    """C2D ResNet-50: 2-D convolutions, time is pooled (paper, Table 1)."""
    return ResNet3D(num_classes, **{"depth": 50, **options})


@with_non_local(NON_LOCAL_BLOCKS[101])
def c2d_r101(num_classes: int = 400, **options: Any) -> nn.Module:
    """C2D ResNet-101."""
    return ResNet3D(num_classes, **{"depth": 101, **options})


@with_non_local(NON_LOCAL_BLOCKS[50])
def i3d_r50(num_classes: int = 400, **options: Any) -> nn.Module:
    """I3D ResNet-50, the first 1×1 of every second residual block inflated to 3×1×1."""
    return ResNet3D(num_classes, **{"depth": 50, "inflation": "3x1x1", **options})


@with_non_local(NON_LOCAL_BLOCKS[101])
def i3d_r101(num_classes: int = 400, **options: Any) -> nn.Module:
    """I3D ResNet-101, 3×1×1."""
    return ResNet3D(num_classes, **{"depth": 101, "inflation": "3x1x1", **options})


@with_non_local(NON_LOCAL_BLOCKS[50])
def i3d_r50_333(num_classes: int = 400, **options: Any) -> nn.Module:
    """I3D ResNet-50, the 3×3 of every second residual block inflated to 3×3×3."""
    return ResNet3D(num_classes, **{"depth": 50, "inflation": "3x3x3", **options})


@with_non_local(NON_LOCAL_BLOCKS[101])
def i3d_r101_333(num_classes: int = 400, **options: Any) -> nn.Module:
    """I3D ResNet-101, 3×3×3."""
    return ResNet3D(num_classes, **{"depth": 101, "inflation": "3x3x3", **options})


# MMAction2 places the blocks of SlowOnly elsewhere than those of I3D.
@with_non_local({5: {"res3": (0, 2), "res4": (0, 2, 4)}})
def slowonly_r50(num_classes: int = 400, **options: Any) -> nn.Module:
    """The Slow pathway of SlowFast alone: 3×1×1 in all of res4 and res5, time never pooled."""
    slow = {"depth": 50, "inflation": SLOW, "pool2_kernel": (1, 1, 1)}
    return ResNet3D(num_classes, **{**slow, **options})


# Made for clips of 8 frames at 48×48; res4 sees 8 × 6 × 6 positions.
TINY: dict[str, Any] = {
    "preset": "plain",
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
