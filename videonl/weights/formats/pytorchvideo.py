"""PyTorchVideo's hub files: ``blocks.{i}`` under ``model_state``.

C2D and I3D hold a temporal max pool without parameters as block 2, Slow does not; so the stages
are blocks 1, 3, 4, 5 or 1, 2, 3, 4. PySlowFast's copies of the files average probabilities over
the cells of a large frame, the hub networks average logits.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from videonl.errors import CheckpointError
from videonl.weights.geometry import geometry
from videonl.weights.translated import NORM, Translated, rename

FAMILY = "PyTorchVideo"
LICENCE = "Apache-2.0 (PyTorchVideo)"


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are PyTorchVideo's keys."""
    return "blocks.0.conv.weight" in tensors


def read(tensors: Mapping[str, Tensor], copy: bool = False) -> Translated:
    """Translate c2d_r50, i3d_r50, slow_r50 and other networks of ``create_resnet``.

    Args:
        tensors: the ``model_state``.
        copy: whether it is PySlowFast's copy, whose keys began with ``model.``.
    """
    blocks = {
        int(match[1]) for key in tensors if (match := re.match(r"blocks\.(\d+)\.res_blocks\.", key))
    }
    stages = sorted(blocks)
    pooled = 2 not in blocks
    if stages not in ([1, 3, 4, 5], [1, 2, 3, 4]):
        raise CheckpointError(
            f"this {FAMILY} checkpoint has residual stages at blocks {stages}; supported are four "
            "stages in a row, with or without a pool after the first"
        )
    rules = [
        (r"blocks\.0\.conv\.weight", "stem.conv.weight"),
        (rf"blocks\.0\.norm\.{NORM}", r"stem.norm.\1"),
        (rf"blocks\.{stages[-1] + 1}\.proj\.(weight|bias)", r"head.projection.\1"),
    ]
    for number, block in enumerate(stages, start=2):
        source, ours = rf"blocks\.{block}\.res_blocks\.(\d+)", rf"res{number}.\1"
        rules += [
            (rf"{source}\.branch1_conv\.weight", f"{ours}.shortcut.conv.weight"),
            (rf"{source}\.branch1_norm\.{NORM}", rf"{ours}.shortcut.norm.\2"),
            (rf"{source}\.branch2\.conv_([abc])\.weight", rf"{ours}.conv_\2.weight"),
            (rf"{source}\.branch2\.norm_([abc])\.{NORM}", rf"{ours}.norm_\2.\3"),
        ]
    renamed, skipped = rename(tensors, rules, family=FAMILY)
    options = {"preset": "pytorchvideo", **geometry(renamed, family=FAMILY)}
    if not pooled:
        options["pool2_kernel"] = [1, 1, 1]
    notes = []
    if copy:
        options["head_average"] = "probabilities"
        notes.append("a copy for PySlowFast: probabilities are averaged over the cells")
    return Translated(
        FAMILY,
        renamed,
        options,
        skipped=skipped,
        notes=notes,
        licence=LICENCE,
        peer_keys=tensors,
    )
