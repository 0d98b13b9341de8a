"""PySlowFast's ``.pyth`` files: ``s1.pathway0_stem`` … in ``model_state``, settings in ``cfg``."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from videonl.errors import CheckpointError
from videonl.files import parse_yaml
from videonl.weights.foreign_settings import (
    Account,
    check_usual,
    is_flag,
    is_number,
    is_share,
    is_whole,
    part,
    settings_in,
)
from videonl.weights.geometry import geometry
from videonl.weights.translated import NORM, Translated, merge_options, rename

FAMILY = "PySlowFast"
LICENCE = "Apache-2.0 (PySlowFast)"
NO_POOL = [1, 1, 1]
# ARCH -> pool after res2. "2d" is the image network.
TEMPORAL_POOLS = {"c2d": [2, 1, 1], "i3d": [2, 1, 1]}
AFFINITIES = {"softmax": "embedded_gaussian", "dot_product": "dot_product"}
NON_LOCAL = {"conv_theta": "theta", "conv_phi": "phi", "conv_g": "g", "conv_out": "out"}
IMAGENET_CLASSES = 1000
USUAL = {"STRIDE_1X1": False, "SPATIAL_DILATIONS": 1}  # of RESNET; no tensor shows them

BLOCK = r"s([2-5])\.pathway0_res(\d+)"
PLACE = r"s([2-5])\.pathway0_nonlocal(\d+)"
RULES = [
    (r"s1\.pathway0_stem\.conv\.weight", "stem.conv.weight"),
    (rf"s1\.pathway0_stem\.bn\.{NORM}", r"stem.norm.\1"),
    (rf"{BLOCK}\.branch1\.weight", r"res\1.\2.shortcut.conv.weight"),
    (rf"{BLOCK}\.branch1_bn\.{NORM}", r"res\1.\2.shortcut.norm.\3"),
    (rf"{BLOCK}\.branch2\.([abc])\.weight", r"res\1.\2.conv_\3.weight"),
    (rf"{BLOCK}\.branch2\.([abc])_bn\.{NORM}", r"res\1.\2.norm_\3.\4"),
    *[
        (rf"{PLACE}\.{theirs}\.(weight|bias)", rf"res\1.\2.non_local.{ours}.\3")
        for theirs, ours in NON_LOCAL.items()
    ],
    (rf"{PLACE}\.bn\.{NORM}", r"res\1.\2.non_local.norm.\3"),
    (r"head\.projection\.(weight|bias)", r"head.projection.\1"),
]


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are PySlowFast's keys."""
    return any(key.startswith("s1.pathway0_stem.") for key in tensors)


def read(tensors: Mapping[str, Tensor], settings: Any = None) -> Translated:
    """Translate C2D, I3D, Slow and their non-local variants.

    Args:
        tensors: the ``model_state``.
        settings: the file's ``cfg``, YAML text, or None: the published settings are assumed
            (softmax, keys pooled by (1, 2, 2), no groups).
    """
    if any("pathway1" in key for key in tensors):
        raise CheckpointError(
            "this PySlowFast checkpoint has two pathways (SlowFast); networks of one pathway are "
            "supported"
        )
    renamed, skipped = rename(tensors, RULES, family=FAMILY)
    shapes = geometry(renamed, family=FAMILY)
    projection = renamed.get("head.projection.weight")
    image = (
        shapes["inflation"] == "none"
        and shapes["stem_kernel"][0] == 1
        and projection is not None
        and projection.shape[0] == IMAGENET_CLASSES
    )
    options = {"preset": "pyslowfast", **shapes}
    flat = shapes["stem_kernel"][0] == 1 and not isinstance(shapes["inflation"], str)
    if flat or image:
        options["pool2_kernel"] = NO_POOL
    known, lost = settings_in(settings, "cfg", read=partial(parse_yaml, source="cfg"))
    options, notes = apply_settings(options, known, lost)
    if part(known, "DATA").get("REVERSE_INPUT_CHANNEL") is True:  # it was trained on BGR
        renamed["stem.conv.weight"] = renamed["stem.conv.weight"].flip(1)
    return Translated(
        FAMILY,
        renamed,
        options,
        image=image,
        skipped=skipped,
        notes=notes,
        licence=LICENCE,
        multi_label=part(known, "MODEL").get("HEAD_ACT") == "sigmoid",
    )


def apply_settings(
    options: dict[str, Any], settings: Mapping[str, Any], lost: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """(options, notes) after the file's own settings were applied.

    Args:
        options: from the tensors.
        settings: of the file.
        lost: a note where there are some that cannot be read.

    Raises:
        CheckpointError: blocks differ between stages in a way that options cannot express, or the
            graph is one that is not made here.
    """
    places = options.get("non_local", {})
    if not settings:
        none = "" if lost else "no settings in the file: "
        note = f"{none}blocks as published (softmax, keys pooled by 1×2×2)"
        pool = (
            f"{none}taken for C2D with its temporal pool after res2; for one "
            "without (slow_c2d), give pool2_kernel=(1, 1, 1)"
        )
        pooled = options["inflation"] == "none" and "pool2_kernel" not in options
        return options, [*lost, *[note] * bool(places), *[pool] * pooled]
    found: dict[str, Any] = {}
    model, account = part(settings, "MODEL"), Account()
    arch = model.get("ARCH")
    if isinstance(arch, str):
        found["pool2_kernel"] = TEMPORAL_POOLS.get(arch, NO_POOL)
        account.read.append("ARCH")
    dropout = account.take(model, "DROPOUT_RATE", is_share, option="dropout")
    if dropout is not None:
        found["dropout"] = dropout
    average = {"none": "logits", "sigmoid": "sigmoids"}.get(str(model.get("HEAD_ACT")))
    if average:
        found["head_average"] = average
        account.read.append("HEAD_ACT")
    network = part(settings, "RESNET")
    check_usual(network, USUAL, family=FAMILY)
    strides = account.take(network, "SPATIAL_STRIDES", _are_by_stage, option="strides")
    if strides is not None:
        found["strides"] = [each[0] for each in strides]
    found["preprocessing"] = clips(settings, account)
    crop = part(settings, "DATA").get("TRAIN_CROP_SIZE")
    if type(crop) is int and crop >= 32:
        found["head_window"] = [crop // 32, crop // 32]
    if places:
        found |= non_local(part(settings, "NONLOCAL"), list(places))
        account.read.append("NONLOCAL")
    return merge_options(options, found), account.notes("cfg")


def clips(settings: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """Our preprocessing from the sections DATA and TEST.

    A test of several crops scales the short side to TEST_CROP_SIZE and takes squares of the whole
    of it; a test of one scales it to the smaller TRAIN_JITTER_SCALES and cuts TEST_CROP_SIZE out.
    """
    data, test = part(settings, "DATA"), part(settings, "TEST")

    def take(section: Any, name: str, kind: Any, option: str) -> Any:
        return account.take(section, name, kind, option=option)

    found = {
        "frames": take(data, "NUM_FRAMES", is_whole, "frames"),
        "stride": take(data, "SAMPLING_RATE", is_whole, "stride"),
        "crop": take(data, "TRAIN_CROP_SIZE", is_whole, "crop"),
        "short_side": take(data, "TEST_CROP_SIZE", is_whole, "short_side"),
        "mean": take(data, "MEAN", _are_three, "mean"),
        "std": take(data, "STD", _are_three, "std"),
        "fps": take(data, "TARGET_FPS", is_number, "fps"),
    }
    take(data, "REVERSE_INPUT_CHANNEL", is_flag, "mean")
    several = part(settings, "MODEL").get("HEAD_ACT") == "sigmoid"  # usually the largest counts
    method = take(data, "ENSEMBLE_METHOD", lambda value: value in ("sum", "max"), "average")
    if method is not None and (method == "max") != several:
        found["average"] = "max" if method == "max" else "mean"
    views = [
        take(test, "NUM_ENSEMBLE_VIEWS", is_whole, "views"),
        take(test, "NUM_SPATIAL_CROPS", lambda value: value in (1, 3), "views"),
    ]
    if None not in views:
        found["views"] = views
    jitter = take(data, "TRAIN_JITTER_SCALES", _are_scales, "short_side")
    if views[1] == 1 and jitter and found["short_side"] is not None:
        found |= {"crop": found["short_side"], "short_side": jitter[0]}
    found = {key: value for key, value in found.items() if value is not None}
    if found.get("crop", 0) > found.get("short_side", 256):
        found["short_side"] = found["crop"]
    return found


def _are_three(value: Any) -> bool:  # anything but numbers is refused with all other bounds
    return isinstance(value, list) and len(value) == 3


def _are_by_stage(value: Any) -> bool:  # of one pathway each
    return isinstance(value, list) and all(isinstance(each, list) and each for each in value)


def _are_scales(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_whole, value))


def non_local(settings: Mapping[str, Any], stages: list[str]) -> dict[str, Any]:
    """Our options from the section NONLOCAL."""
    found: dict[str, Any] = {}
    instantiation = settings.get("INSTANTIATION", "dot_product")
    if instantiation not in AFFINITIES:
        raise CheckpointError(
            f"this {FAMILY} checkpoint has INSTANTIATION {instantiation!r}; supported are "
            f"{', '.join(AFFINITIES)}"
        )
    options: dict[str, Any] = {"affinity": AFFINITIES[instantiation]}
    numbers = [int(stage.removeprefix("res")) - 2 for stage in stages]
    pools = {tuple(settings["POOL"][n][0]) for n in numbers if "POOL" in settings}
    groups = {n: int(settings["GROUP"][n][0]) for n in numbers if "GROUP" in settings}
    if len(pools) > 1:
        raise CheckpointError(
            f"this {FAMILY} checkpoint has another NONLOCAL.POOL in each stage; one for all is "
            "supported"
        )
    if pools:
        pool = pools.pop()
        options["subsample"] = list(pool) if any(size > 1 for size in pool) else False
    found["non_local_options"] = options
    grouped = {f"res{n + 2}": groups[n] for n in groups if groups[n] > 1}
    return {**found, "non_local_groups": grouped} if grouped else found
