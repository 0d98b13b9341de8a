"""The differences between published graphs of "the same" ResNet: a table, one row per family.

A row holds everything that a checkpoint of the family assumes and that the name of the network does
not imply: strides, paddings, the form of the non-local block, the head, the preprocessing. A wrong
pool1 padding alone (1 instead of 0) costs a published network 0.3 % top-1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from videonl.video.preprocessing import Preprocessing
from videonl.video.protocols import FACEBOOK, GLUONCV, OPENMMLAB, RELEASED

Triple = tuple[int, int, int]
TRIPLES = {"stem_stride", "pool1_kernel", "pool1_stride", "pool1_padding", "pool2_kernel"}

Colours = tuple[tuple[float, ...], tuple[float, ...]]  # (mean, std)
HALF_GREY: Colours = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
IMAGENET: Colours = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def clip(frames: int, stride: int, colours: Colours, **test: Any) -> Preprocessing:
    """The paper's recipe: ``frames`` × ``stride``, short side 256, crop 224, 10 × 3 views."""
    mean, std = colours
    return Preprocessing(frames, stride, short_side=256, crop=224, mean=mean, std=std, **test)


@dataclass(frozen=True)
class Preset:
    """One published family. The defaults are those of PyTorchVideo; triples are (T, H, W).

    Attributes:
        stem_stride: stride of the first convolution.
        pool1_kernel: max pool after the stem; ``(1, 1, 1)`` with stride 1 is no pool.
        pool1_stride: its stride.
        pool1_padding: its padding; the paper's released code has none.
        pool2_kernel: max pool over time after res2, kernel = stride.
        norm: ``"batch"``, ``"frozen"`` or ``"affine"`` (see ``videonl.models.norms``).
        norm_eps: added to the variance.
        head_pool: ``"global"`` average, or ``"sliding"``: average over all times and a window
            of ``head_window`` cells that slides over larger maps, which classifies every cell.
        head_window: (H, W) of that window in cells, cut to the map where that is smaller.
        head_average: what is averaged over the cells: ``"logits"``, ``"probabilities"``, or
            ``"sigmoids"``, the probabilities of classes that do not exclude each other.
        non_local_options: options of every ``NonLocalBlock``.
        non_local_groups: stage -> number of groups that time is cut into by its blocks.
        preprocessing: the clips that the family was made for, and the views of its test.
    """

    stem_stride: Triple = (1, 2, 2)
    pool1_kernel: Triple = (1, 3, 3)
    pool1_stride: Triple = (1, 2, 2)
    pool1_padding: Triple = (0, 1, 1)
    pool2_kernel: Triple = (2, 1, 1)
    norm: str = "batch"
    norm_eps: float = 1e-5
    head_pool: str = "sliding"
    head_window: tuple[int, int] = (7, 7)
    head_average: str = "logits"
    non_local_options: Mapping[str, Any] = field(default_factory=dict)
    non_local_groups: Mapping[str, int] = field(default_factory=dict)
    preprocessing: Preprocessing = field(default_factory=lambda: clip(8, 8, HALF_GREY, **FACEBOOK))


PYTORCHVIDEO = Preset()
OFFICIAL = Preset(
    pool1_padding=(0, 0, 0),
    head_average="probabilities",
    preprocessing=clip(8, 8, HALF_GREY, **RELEASED),
)
# "org" in the released code: the strides of the paper's Table 1.
OFFICIAL_LONG = replace(
    OFFICIAL, stem_stride=(2, 2, 2), pool1_kernel=(2, 3, 3), pool1_stride=(2, 2, 2)
)
# The affine files: no norm in the non-local blocks; res3 attends within 4 groups of frames.
AFFINE: dict[str, Any] = {
    "norm": "affine",
    "non_local_options": {"norm": None},
    "non_local_groups": {"res3": 4},
}
# mmcv pools after φ and g, has no bias before the norm, and scales in SlowOnly only.
MMCV = {"subsample_position": "after", "out_bias": False}
MMACTION2 = Preset(
    head_pool="global",
    non_local_options={**MMCV, "use_scale": False},
    preprocessing=clip(32, 2, IMAGENET, **OPENMMLAB),
)

PRESETS: dict[str, Preset] = {
    "pytorchvideo": PYTORCHVIDEO,
    # Not published: how a video is viewed is this library's own choice.
    "plain": replace(PYTORCHVIDEO, preprocessing=clip(8, 8, HALF_GREY)),
    "pyslowfast": replace(PYTORCHVIDEO, head_average="probabilities"),
    "official_8x8": OFFICIAL,
    "official_32x2": replace(OFFICIAL_LONG, preprocessing=clip(32, 2, HALF_GREY, **RELEASED)),
    "official_32x4": replace(OFFICIAL, preprocessing=clip(32, 4, HALF_GREY, **RELEASED), **AFFINE),
    "official_128x1": replace(
        OFFICIAL_LONG, preprocessing=clip(128, 1, HALF_GREY, **RELEASED), **AFFINE
    ),
    "mmaction2": replace(MMACTION2, stem_stride=(2, 2, 2), pool1_stride=(2, 2, 2)),
    "mmaction2_c2d": replace(
        MMACTION2,
        pool1_padding=(0, 0, 0),
        preprocessing=clip(8, 8, IMAGENET, **OPENMMLAB),
    ),
    "mmaction2_slowonly": replace(
        MMACTION2,
        non_local_options={**MMCV, "use_scale": True},
        preprocessing=clip(8, 8, IMAGENET, **OPENMMLAB),
    ),
    "gluoncv": Preset(
        stem_stride=(2, 2, 2),
        pool1_stride=(2, 2, 2),
        head_pool="global",
        non_local_options={"subsample": False},
        preprocessing=clip(32, 2, IMAGENET, **GLUONCV),
    ),
}


def resolve(
    preset: str,
    given: Mapping[str, Any],
    non_local_options: Mapping[str, Any] | None,
    preprocessing: Mapping[str, Any] | None,
) -> Preset:
    """A row of the table with some values replaced.

    Args:
        preset: its name.
        given: field -> value; None keeps the preset's.
        non_local_options: added to the preset's, or in place of them.
        preprocessing: entries in place of the preset's.

    Raises:
        ValueError: an unknown preset, an entry that a preprocessing does not have, or a triple of
            another length.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; it must be one of {', '.join(PRESETS)}")
    base = PRESETS[preset]
    changes = {name: value for name, value in given.items() if value is not None}
    for name in changes.keys() & TRIPLES:
        changes[name] = triple(name, changes[name])
    return replace(
        base,
        **changes,
        non_local_options={**base.non_local_options, **(non_local_options or {})},
        preprocessing=base.preprocessing.changed(**(preprocessing or {})),
    )


def triple(name: str, value: Sequence[int]) -> Triple:
    """Three integers (T, H, W) from any sequence, such as a list out of a YAML file.

    Raises:
        ValueError: not three integers; names the option.
    """
    if isinstance(value, (str, int)) or len(value) != 3:
        raise ValueError(f"{name} is {value!r}; it must be three integers (T, H, W)")
    return (int(value[0]), int(value[1]), int(value[2]))
