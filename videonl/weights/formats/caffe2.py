"""Caffe2 ``.pkl`` blobs: the official video-nonlocal-net, and PySlowFast's older zoo.

    conv1_w  res_conv1_bn_{s,b,rm,riv}  res{S}_{j}_branch{1,2a,2b,2c}_w, _bn_*
    nonlocal_conv{S}_{j}_{theta,phi,g,out}_{w,b}, _bn_*  pred_{w,b}

s is the scale, b the shift, rm the mean; riv is named "inverse" but holds the plain variance.
The same names and shapes are published for graphs with other strides (8×8, 32×2) and paddings
(PySlowFast), and nothing in such a file distinguishes them, so the user gives the preset.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from videonl.errors import CheckpointError
from videonl.models.placement import SLOW
from videonl.weights.geometry import geometry
from videonl.weights.translated import Question, Translated, need, rename

FAMILY = "Caffe2"
LICENCE = "CC BY-NC 4.0 where the weights are those of video-nonlocal-net"
SUFFIXES = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
IGNORED = [
    (r".*_momentum", "momentum of the training"),
    (r"(lr|model_iter|epoch)", "state of the training"),
]
RULES = [
    (r"conv1_w", "stem.conv.weight"),
    (r"res([2-5])_(\d+)_branch1_w", r"res\1.\2.shortcut.conv.weight"),
    (r"res([2-5])_(\d+)_branch2([abc])_w", r"res\1.\2.conv_\3.weight"),
    (r"nonlocal_conv([2-5])_(\d+)_(theta|phi|g|out)_w", r"res\1.\2.non_local.\3.weight"),
    (r"nonlocal_conv([2-5])_(\d+)_(theta|phi|g|out)_b", r"res\1.\2.non_local.\3.bias"),
    (r"pred_w", "head.projection.weight"),
    (r"pred_b", "head.projection.bias"),
]
for _theirs, _ours in SUFFIXES.items():
    RULES += [
        (rf"res_conv1_bn_{_theirs}", f"stem.norm.{_ours}"),
        (rf"res([2-5])_(\d+)_branch1_bn_{_theirs}", rf"res\1.\2.shortcut.norm.{_ours}"),
        (rf"res([2-5])_(\d+)_branch2([abc])_bn_{_theirs}", rf"res\1.\2.norm_\3.{_ours}"),
        (rf"nonlocal_conv([2-5])_(\d+)_bn_{_theirs}", rf"res\1.\2.non_local.norm.{_ours}"),
    ]

BATCH_NORM_GRAPHS = {name: {"preset": name} for name in ("official_8x8", "official_32x2")} | {
    "pyslowfast": {"preset": "pyslowfast"}
}
AFFINE_GRAPHS = {name: {"preset": name} for name in ("official_32x4", "official_128x1")}


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are Caffe2's blobs."""
    return "conv1_w" in tensors


def read(tensors: Mapping[str, Tensor]) -> Translated:
    """Translate the official networks (batch norm and affine) and PySlowFast's."""
    lost = sorted(
        name
        for key in tensors
        if key.endswith("_momentum") and (name := key.removesuffix("_momentum")) not in tensors
    )
    if lost:
        raise CheckpointError(
            f"this {FAMILY} checkpoint contains only the momentum of {', '.join(lost[:20])}; it "
            "was saved incompletely"
        )
    renamed, skipped = rename(tensors, RULES, family=FAMILY, ignored=IGNORED)
    projection = renamed.get("head.projection.weight")
    if projection is not None:  # the test graph uses it as a 1×1×1 convolution
        renamed["head.projection.weight"] = projection.flatten(1)
    image = need(renamed, "stem.conv.weight", family=FAMILY).dim() == 4
    renamed = {key: with_kernel(key, tensor, image=image) for key, tensor in renamed.items()}
    options = geometry(renamed, family=FAMILY)
    affine = "stem.norm.running_mean" not in renamed
    translated = Translated(FAMILY, renamed, options, image=image, skipped=skipped, licence=LICENCE)
    if affine:
        check_affine(renamed)
    if image:
        if affine:
            options["norm"] = "affine"
        return translated
    if options["inflation"] == SLOW:
        options |= {"preset": "pyslowfast", "pool2_kernel": [1, 1, 1]}
        return translated
    graphs = AFFINE_GRAPHS if affine else BATCH_NORM_GRAPHS
    translated.question = Question(
        "which graph the blobs belong to: their names and shapes are the same in all",
        f"preset={'|'.join(graphs)}",
        lambda given: "preset" in given,
        graphs,
    )
    return translated


def with_kernel(key: str, tensor: Tensor, *, image: bool) -> Tensor:
    """Convolutions with all five dimensions; trailing ones are lost in some files."""
    is_conv = key.endswith(".weight") and re.search(r"conv|theta|phi|\.g\.|out", key)
    if image or not is_conv or tensor.dim() >= 5 or tensor.dim() < 2:
        return tensor
    return tensor.reshape(*tensor.shape, *[1] * (5 - tensor.dim()))


def check_affine(tensors: Mapping[str, Tensor]) -> None:
    """Check that an affine file has statistics nowhere: neither in the trunk nor in the blocks.

    Raises:
        CheckpointError: there are some, so others are missing.
    """
    found = [key for key in tensors if key.endswith(("running_mean", "running_var"))]
    norms = [key for key in tensors if ".non_local.norm." in key]
    if found or norms:
        raise CheckpointError(
            f"this {FAMILY} checkpoint has no res_conv1_bn_rm, but has "
            f"{', '.join((found or norms)[:5])}; batch-norm statistics are missing"
        )
