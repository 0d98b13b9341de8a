"""GluonCV's torch files: a bare state dict ``first_stage`` … with tied copies of some tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor

from videonl.errors import CheckpointError
from videonl.weights.geometry import geometry
from videonl.weights.translated import NORM, Translated, rename

FAMILY = "GluonCV"
LICENCE = "Apache-2.0 (GluonCV)"
BLOCK, PLACE = r"res_layers\.([0-3])\.(\d+)", r"res\1.\2"
RULES = [
    (r"first_stage\.0\.weight", "stem.conv.weight"),
    (rf"first_stage\.1\.{NORM}", r"stem.norm.\1"),
    (r"fc\.(weight|bias)", r"head.projection.\1"),
    (rf"{BLOCK}\.downsample\.0\.weight", rf"{PLACE}.shortcut.conv.weight"),
    (rf"{BLOCK}\.downsample\.1\.{NORM}", rf"{PLACE}.shortcut.norm.\3"),
    (rf"{BLOCK}\.conv([123])\.weight", rf"{PLACE}.conv_\3.weight"),
    (rf"{BLOCK}\.bn([123])\.{NORM}", rf"{PLACE}.norm_\3.\4"),
    (rf"{BLOCK}\.nonlocal_block\.(theta|phi|g)\.(weight|bias)", rf"{PLACE}.non_local.\3.\4"),
    (rf"{BLOCK}\.nonlocal_block\.W\.(weight|bias)", rf"{PLACE}.non_local.out.\3"),
    (rf"{BLOCK}\.nonlocal_block\.bn\.{NORM}", rf"{PLACE}.non_local.norm.\3"),
]
# copy -> what it is tied to
TIED = (
    ("head.1.", "fc."),
    (".nonlocal_block.W_bn.0.", ".nonlocal_block.W."),
    (".nonlocal_block.W_bn.1.", ".nonlocal_block.bn."),
)


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are GluonCV's keys."""
    return "first_stage.0.weight" in tensors


def read(tensors: Mapping[str, Tensor]) -> Translated:
    """Translate the I3D ResNets with 0, 5 or 10 non-local blocks."""
    originals, copies = untie(tensors)
    renamed, skipped = rename(originals, RULES, family=FAMILY, first_stage=0)
    options = {"preset": "gluoncv", **geometry(renamed, family=FAMILY)}
    return Translated(FAMILY, renamed, options, skipped=copies + skipped, licence=LICENCE)


def untie(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """(tensors without the tied copies, the copies with the reason).

    Raises:
        CheckpointError: a copy that differs from its original.
    """
    originals, copies, unequal = dict(tensors), [], []
    for key in tensors:
        for copy, original in TIED:
            if copy not in key:
                continue
            tied = key.replace(copy, original)
            if tied not in tensors:
                originals[tied] = originals[key]
            elif not torch.equal(tensors[key], tensors[tied]):
                unequal.append(f"{key} and {tied}")
            del originals[key]
            copies.append(f"{key} (tied copy of {tied})")
            break
    if unequal:
        raise CheckpointError(
            f"the tied copies in this {FAMILY} checkpoint differ: {', '.join(unequal[:10])}"
        )
    return originals, copies
