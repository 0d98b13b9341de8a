"""The shape of a ResNet3D, read from its tensors: width, blocks, inflation, non-local blocks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from videonl.errors import CheckpointError
from videonl.models.placement import (
    DEPTHS,
    INFLATIONS,
    NON_LOCAL_BLOCKS,
    SLOW,
    STAGES,
    block_inflation,
)

NAMES = {"none": "c2d", "3x1x1": "i3d", "3x3x3": "i3d"}
EVERYWHERE = dict.fromkeys(STAGES, "3x1x1")
PATTERNS: tuple[Any, ...] = ("none", "3x1x1", "3x3x3", SLOW, EVERYWHERE)
FULL_WIDTH = 64


def geometry(tensors: Mapping[str, Tensor], *, family: str) -> dict[str, Any]:
    """Options of ``ResNet3D`` that the shapes of its tensors determine.

    Args:
        tensors: by our keys; convolutions have 4 (an image network) or 5 dimensions.
        family: for the message.

    Returns:
        width, layers, stem_kernel, inflation, and non_local where there are blocks.

    Raises:
        CheckpointError: not a ResNet of bottlenecks with temporal kernels of 1 and 3.
    """
    stem = tensors.get("stem.conv.weight")
    if stem is None:
        raise CheckpointError(f"this {family} checkpoint lacks its first convolution")
    layers = []
    for stage in STAGES:
        found = {int(k.split(".")[1]) for k in tensors if re.match(rf"{stage}\.\d+\.conv_a\.", k)}
        if found != set(range(len(found))):
            gaps = f"has gaps in {stage} ({sorted(found)}); it is incomplete"
            raise CheckpointError(f"this {family} checkpoint {gaps}")
        layers.append(len(found))
    while layers and layers[-1] == 0:
        layers.pop()
    if not layers or 0 in layers:
        raise CheckpointError(
            f"this {family} checkpoint has {layers} residual blocks per stage; 1 to 4 stages with "
            "at least one block each are supported"
        )
    options: dict[str, Any] = {
        "width": stem.shape[0],
        "layers": layers,
        "stem_kernel": [extent(stem), *stem.shape[-2:]],
        "inflation": find_inflation(tensors, layers, family=family),
    }
    places = non_local_places(tensors)
    if places:
        options["non_local"] = places
        inner = inner_width(tensors, places, family=family)
        if inner is not None:
            options["non_local_options"] = {"inner_channels": inner}
    return options


def extent(weight: Tensor) -> int:
    """The temporal extent of a convolution; an image network has 1."""
    return weight.shape[2] if weight.dim() == 5 else 1


def find_inflation(tensors: Mapping[str, Tensor], layers: Sequence[int], *, family: str) -> Any:
    """The name of the inflation, or the inflation of every block by stage."""
    by_extent = {value: name for name, value in INFLATIONS.items()}
    found: dict[str, list[str]] = {}
    for stage, count in zip(STAGES, layers, strict=False):
        for block in range(count):
            pair = tuple(
                extent(tensors[key]) if (key := f"{stage}.{block}.{conv}.weight") in tensors else 1
                for conv in ("conv_a", "conv_b")
            )
            if pair not in by_extent:
                raise CheckpointError(
                    f"this {family} checkpoint has temporal kernels {pair} in {stage}.{block}; "
                    f"supported are {', '.join(map(str, by_extent))}"
                )
            found.setdefault(stage, []).append(by_extent[pair])
    for pattern in PATTERNS:
        if all(
            block_inflation(pattern, stage, block) == INFLATIONS[name]
            for stage, names in found.items()
            for block, name in enumerate(names)
        ):
            return pattern
    return found


def non_local_places(tensors: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Stage -> residual blocks with a non-local block."""
    places: dict[str, set[int]] = {}
    for key in tensors:
        match = re.match(r"(res\d)\.(\d+)\.non_local\.", key)
        if match:
            places.setdefault(match[1], set()).add(int(match[2]))
    return {stage: sorted(blocks) for stage, blocks in sorted(places.items())}


def inner_width(
    tensors: Mapping[str, Tensor], places: Mapping[str, Sequence[int]], *, family: str
) -> int | None:
    """The width of θ, φ and g in every block; None where it is half of the channels.

    Raises:
        CheckpointError: neither half of the channels everywhere nor one width for all.
    """
    widths: set[int | None] = set()
    for stage, blocks in places.items():
        for block in blocks:
            weight = tensors.get(f"{stage}.{block}.non_local.g.weight")
            if weight is not None:
                usual = weight.shape[0] == weight.shape[1] // 2
                widths.add(None if usual else weight.shape[0])
    if len(widths) > 1:
        raise CheckpointError(
            f"the non-local blocks of this {family} checkpoint have inner widths "
            f"{sorted(width or 0 for width in widths)} (0: half of the channels); one width for "
            "all blocks, or half of the channels everywhere, is supported"
        )
    return widths.pop() if widths else None


def name_of(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(registered name, the options that the name does not imply) of a ResNet3D."""
    rest = dict(options)
    layers, inflation = tuple(rest.pop("layers")), rest.pop("inflation")
    depth = next((depth for depth, blocks in DEPTHS.items() if blocks == layers), None)
    known = depth if depth in NON_LOCAL_BLOCKS else None
    if inflation == SLOW:
        base, known_suffixes = "slowonly_r50", {5: {"res3": (0, 2), "res4": (0, 2, 4)}}
        if layers != DEPTHS[50]:
            rest["layers"] = list(layers)
    else:
        base = f"{NAMES.get(str(inflation), 'i3d')}_r{known or 50}"
        base += "_333" if inflation == "3x3x3" else ""
        known_suffixes = dict(NON_LOCAL_BLOCKS[known or 50])  # type: ignore[arg-type]
        if known is None:
            rest["layers"] = list(layers)
        if not isinstance(inflation, str):
            rest["inflation"] = inflation
    if rest.get("width") == FULL_WIDTH:
        del rest["width"]
    usual = (5, 7, 7) if inflation in ("3x1x1", "3x3x3") else (1, 7, 7)
    if base.startswith("i3d") and not isinstance(inflation, str):
        usual = (1, 7, 7)  # the network's own rule looks at the name of the inflation
    if tuple(rest.get("stem_kernel", usual)) == usual:
        rest.pop("stem_kernel", None)
    places = {stage: tuple(blocks) for stage, blocks in (rest.get("non_local") or {}).items()}
    for count, usual_places in known_suffixes.items():
        if places == usual_places and "layers" not in rest:
            del rest["non_local"]
            return f"{base}_nl{count}", rest
    return base, rest
