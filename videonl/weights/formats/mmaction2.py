"""MMAction2's ``.pth`` files: ``backbone.layer1.0.conv1.conv.weight`` … under ``state_dict``.

The non-local block is mmcv's: φ and g are convolved, then pooled; no bias before the norm. Whether
a pair of θ and φ makes a dot product or an embedded Gaussian cannot be read from the weights: it is
in the file's ``meta``, or the user gives it.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from videonl.models.placement import SLOW
from videonl.weights.foreign_settings import (
    Account,
    check_usual,
    is_colour,
    is_flag,
    is_share,
    is_whole,
    part,
    python_settings,
    settings_in,
)
from videonl.weights.geometry import EVERYWHERE, geometry
from videonl.weights.translated import NORM, Question, Translated, merge_options, need, rename

FAMILY = "MMAction2"
LICENCE = "Apache-2.0 (MMAction2)"
NO_POOL = [1, 1, 1]
# No tensor shows them.
USUAL = {"style": "pytorch", "temporal_strides": 1, "dilations": 1, "with_pool1": True}
BLOCK, PLACE = r"backbone\.layer([1-4])\.(\d+)", r"res\1.\2"
NON_LOCAL, OURS = rf"{BLOCK}\.non_local_block", rf"{PLACE}.non_local"
RULES = [
    (r"backbone\.conv1\.conv\.weight", "stem.conv.weight"),
    (rf"backbone\.conv1\.bn\.{NORM}", r"stem.norm.\1"),
    (r"cls_head\.fc_cls\.(weight|bias)", r"head.projection.\1"),
    (rf"{BLOCK}\.downsample\.conv\.weight", rf"{PLACE}.shortcut.conv.weight"),
    (rf"{BLOCK}\.downsample\.bn\.{NORM}", rf"{PLACE}.shortcut.norm.\3"),
    (rf"{BLOCK}\.conv([123])\.conv\.weight", rf"{PLACE}.conv_\3.weight"),
    (rf"{BLOCK}\.conv([123])\.bn\.{NORM}", rf"{PLACE}.norm_\3.\4"),
    (rf"{NON_LOCAL}\.(theta|phi|g)(?:\.0)?\.conv\.(weight|bias)", rf"{OURS}.\3.\4"),
    (rf"{NON_LOCAL}\.conv_out\.conv\.(weight|bias)", rf"{OURS}.out.\3"),
    (rf"{NON_LOCAL}\.conv_out\.bn\.{NORM}", rf"{OURS}.norm.\3"),
    (rf"{NON_LOCAL}\.concat_project\.conv\.weight", rf"{OURS}.affinity.weight"),
]
AFFINITIES = {
    name: {"non_local_options": {"affinity": name}} for name in ("embedded_gaussian", "dot_product")
}


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are MMAction2's keys of a ResNet."""
    return "backbone.conv1.conv.weight" in tensors


def read(tensors: Mapping[str, Tensor], meta: Any = None) -> Translated:
    """Translate I3D and SlowOnly (with non-local blocks) and the 4-D weights of C2D.

    Args:
        tensors: the ``state_dict``.
        meta: the file's ``meta``, in which the configuration is text.
    """
    renamed, skipped = rename(tensors, RULES, family=FAMILY, first_stage=1)
    flat = need(renamed, "stem.conv.weight", family=FAMILY).dim() == 4
    for key, tensor in renamed.items():
        if key.endswith("affinity.weight"):
            renamed[key] = tensor.flatten()
        elif flat and tensor.dim() == 4:
            renamed[key] = tensor.unsqueeze(2)
    options = geometry(renamed, family=FAMILY)
    translated = Translated(
        FAMILY, renamed, options, skipped=skipped, hints=text_of(meta), licence=LICENCE
    )
    if flat:
        options["preset"] = "mmaction2_c2d"
        read_flat(translated)
    elif options["inflation"] == SLOW:
        options |= {"preset": "mmaction2_slowonly", "pool2_kernel": NO_POOL}
    else:
        options["preset"] = "mmaction2"
        if options["inflation"] == EVERYWHERE:  # every frame is kept up to res2
            options |= {"stem_stride": [1, 2, 2], "pool1_stride": [1, 2, 2]}
    if "non_local" in options:
        read_blocks(translated, tensors)
    apply_settings(translated, meta)
    return translated


def apply_settings(translated: Translated, meta: Any) -> None:
    """Apply the file's own configuration of clips, pictures and colours, and note what was read."""
    cfg = meta.get("cfg") if isinstance(meta, Mapping) else None
    settings, lost = settings_in(cfg, "cfg", read=python_settings)
    translated.notes += lost
    steps = steps_of_test(settings)
    if not steps and not isinstance(settings.get("model"), Mapping):
        return
    account = Account()
    model = part(settings, "model")
    colours = part(model, "data_preprocessor") or steps.get("Normalize", {})
    found = {**clips(steps, account)}
    for name in ("mean", "std"):
        values = account.take(colours, name, is_colour, option=name)
        if values is not None:
            found[name] = [value / 255 for value in values]
    turned = [account.take(colours, name, is_flag, option="mean") for name in ("to_rgb", "to_bgr")]
    if True in turned:  # frames are decoded red first, and were turned before they were scaled
        stem = translated.tensors["stem.conv.weight"]
        translated.tensors["stem.conv.weight"] = stem.flip(1)
        found |= {name: found[name][::-1] for name in ("mean", "std") if name in found}
    head = part(model, "cls_head")
    translated.multi_label = head.get("multi_class") is True
    scores = ("prob", "score")
    if account.take(head, "average_clips", scores.__contains__, option="average") == "score":
        found["average"] = "logits"
    options: dict[str, Any] = {"preprocessing": found, **graph(part(model, "backbone"), account)}
    dropout = account.take(head, "dropout_ratio", is_share, option="dropout")
    if dropout is not None:
        options["dropout"] = dropout
    translated.options = merge_options(translated.options, options)
    translated.notes += account.notes("meta")


def graph(backbone: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Our options for the strides and pools, as far as they are stated.

    Raises:
        CheckpointError: such a network is not made here.
    """
    check_usual(backbone, USUAL, family=FAMILY)
    found: dict[str, Any] = {}
    for ours, theirs in (("stem_stride", "conv1_stride"), ("pool1_stride", "pool1_stride")):
        frames = account.take(backbone, f"{theirs}_t", is_whole, option=ours)
        pixels = account.take(backbone, f"{theirs}_s", is_whole, option=ours) or 2
        if frames is not None:
            found[ours] = [frames, pixels, pixels]
    pooled = account.take(backbone, "with_pool2", is_flag, option="pool2_kernel")
    if pooled is not None:
        found["pool2_kernel"] = [2, 1, 1] if pooled else NO_POOL
    for theirs in ("spatial_strides", "strides"):  # of 3-D and 2-D networks
        strides = account.take(backbone, theirs, _are_whole, option="strides")
        if strides is not None:
            found["strides"] = list(strides)
    return found


def _are_whole(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(map(is_whole, value))


def steps_of_test(settings: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The steps of the test's pipeline by their types."""
    pipelines = (
        settings.get("test_pipeline"),
        part(part(settings, "test_dataloader"), "dataset").get("pipeline"),
        part(part(settings, "data"), "test").get("pipeline"),
    )
    steps = next((found for found in pipelines if isinstance(found, (list, tuple))), [])
    return {str(step.get("type")): step for step in steps if isinstance(step, Mapping)}


def clips(steps: Mapping[str, Mapping[str, Any]], account: Account) -> dict[str, Any]:
    """Our preprocessing from the steps of a test."""
    found: dict[str, Any] = {}
    sampling = steps.get("SampleFrames", {})
    for ours, theirs in (("frames", "clip_len"), ("stride", "frame_interval")):
        found[ours] = account.take(sampling, theirs, is_whole, option=ours)
    count = account.take(sampling, "num_clips", is_whole, option="views")
    for name in ("target_fps", "twice_sample", "out_of_bound_opt"):
        if sampling.get(name) not in (None, False, "loop"):
            account.leave(name, sampling[name], option="fps" if name == "target_fps" else "views")
    scale = account.take(steps.get("Resize"), "scale", _is_short_side, option="short_side")
    if scale is not None:
        found["short_side"] = scale if is_whole(scale) else scale[1]
    crops = None
    for kind, number in (("CenterCrop", 1), ("ThreeCrop", 3)):
        if kind in steps:
            side = account.take(steps[kind], "crop_size", is_whole, option="crop")
            crops, entry = number, "crop" if number == 1 else "test_crop"
            found[entry] = side if side != found.get("short_side", 256) or number == 1 else None
    for kind in steps:
        if kind.endswith("Crop") and kind not in ("CenterCrop", "ThreeCrop"):
            account.leave(kind, steps[kind].get("crop_size"), option="views")
        if kind.startswith(("Uniform", "Dense")):
            account.leave(kind, steps[kind].get("clip_len"), option="views")
    if found.get("short_side", 256) < 224:  # the crop of the family's preset
        found.setdefault("crop", found["short_side"])
    if count is not None and crops is not None:
        found["views"] = [count, crops]
    return {key: value for key, value in found.items() if value is not None}


def _is_short_side(value: Any) -> bool:
    """A size, or (-1, size): the other side follows."""
    listed = isinstance(value, (list, tuple)) and len(value) == 2
    return is_whole(value) or (listed and value[0] in (-1, None) and is_whole(value[1]))


def read_flat(translated: Translated) -> None:
    """C2D with its temporal pools, or a 2-D network without any."""
    if re.search(r"nopool|type['\"]?\s*[=:]\s*['\"]ResNet['\"]", translated.hints):
        translated.options |= {"pool1_padding": [0, 1, 1], "pool2_kernel": NO_POOL}
        return
    translated.notes.append(
        "4-D weights are taken for C2D with temporal pools; for a network without them (nopool, "
        "TSN) give pool1_padding=(0, 1, 1) and pool2_kernel=(1, 1, 1)"
    )


def read_blocks(translated: Translated, tensors: Mapping[str, Tensor]) -> None:
    """The form of the non-local blocks: what their keys determine, and what they leave open."""
    keys = [key for key in tensors if ".non_local_block." in key]
    options = translated.options.setdefault("non_local_options", {})
    pooled = any(re.search(r"\.(g|phi)\.0\.conv\.", key) for key in keys)
    options["subsample"] = pooled
    if not any(key.endswith("conv_out.bn.weight") for key in keys):
        options |= {"norm": None, "out_bias": True}
    if any("concat_project" in key for key in keys):
        options["affinity"] = "concatenation"
    elif not any(".theta." in key for key in keys):
        options["affinity"] = "gaussian"
    else:
        scale = re.search(r"use_scale['\"]?\s*[=:]\s*(True|False)", translated.hints)
        if scale:
            options["use_scale"] = scale[1] == "True"
        translated.question = Question(
            "whether θ and φ make a dot product or an embedded Gaussian: both have these keys",
            "non_local_options={'affinity': 'embedded_gaussian'|'dot_product'}",
            lambda given: "affinity" in (given.get("non_local_options") or {}),
            AFFINITIES,
        )


def text_of(meta: Any) -> str:
    """The texts of ``meta`` that may contain the configuration."""
    values = meta.values() if isinstance(meta, Mapping) else ()
    return "\n".join(value[:200_000] for value in values if isinstance(value, str))
