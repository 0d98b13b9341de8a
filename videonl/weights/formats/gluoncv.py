"""GluonCV's torch files: a bare state dict ``first_stage`` … with tied copies of some tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor

from videonl.errors import CheckpointError
from videonl.weights.geometry import geometry
from videonl.weights.translated import NORM, Translated, rename

FAMILY = "GluonCV"
LICENCE = "Apache-2.0 (GluonCV)"
CONVS = {"1": "a", "2": "b", "3": "c"}
RULES = [
    (r"first_stage\.0\.weight", "stem.conv.weight"),
    (rf"first_stage\.1\.{NORM}", r"stem.norm.\1"),
    (r"fc\.(weight|bias)", r"head.projection.\1"),
]
for _layer in range(4):
    _source, _place = rf"res_layers\.{_layer}\.(\d+)", rf"res{_layer + 2}.\1"
    RULES += [
        (rf"{_source}\.downsample\.0\.weight", f"{_place}.shortcut.conv.weight"),
        (rf"{_source}\.downsample\.1\.{NORM}", rf"{_place}.shortcut.norm.\2"),
        *[
            rule
            for number, letter in CONVS.items()
            for rule in (
                (rf"{_source}\.conv{number}\.weight", f"{_place}.conv_{letter}.weight"),
                (rf"{_source}\.bn{number}\.{NORM}", rf"{_place}.norm_{letter}.\2"),
            )
        ],
        (
            rf"{_source}\.nonlocal_block\.(theta|phi|g)\.(weight|bias)",
            rf"{_place}.non_local.\2.\3",
        ),
        (rf"{_source}\.nonlocal_block\.W\.(weight|bias)", rf"{_place}.non_local.out.\2"),
        (rf"{_source}\.nonlocal_block\.bn\.{NORM}", rf"{_place}.non_local.norm.\2"),
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
    renamed, skipped = rename(originals, RULES, family=FAMILY)
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
