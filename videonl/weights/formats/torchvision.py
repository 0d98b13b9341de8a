"""torchvision's 2-D ResNets, the paper's kind of start: inflated, W3d = repeat(W2d, k_t) / k_t."""

from collections.abc import Mapping

from torch import Tensor

from videonl.errors import CheckpointError
from videonl.weights.geometry import geometry
from videonl.weights.translated import NORM, Translated, rename

FAMILY = "torchvision ResNet (images)"
LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet"
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
BLOCK, PLACE = r"layer([1-4])\.(\d+)", r"res\1.\2"
RULES = [
    (r"conv1\.weight", "stem.conv.weight"),
    (rf"bn1\.{NORM}", r"stem.norm.\1"),
    (r"fc\.(weight|bias)", r"head.projection.\1"),
    (rf"{BLOCK}\.downsample\.0\.weight", rf"{PLACE}.shortcut.conv.weight"),
    (rf"{BLOCK}\.downsample\.1\.{NORM}", rf"{PLACE}.shortcut.norm.\3"),
    (rf"{BLOCK}\.conv([123])\.weight", rf"{PLACE}.conv_\3.weight"),
    (rf"{BLOCK}\.bn([123])\.{NORM}", rf"{PLACE}.norm_\3.\4"),
]


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are torchvision's ResNet of images; 3-D ResNets of others have its keys."""
    stem = tensors.get("conv1.weight")
    return stem is not None and stem.dim() == 4 and "layer1.0.conv1.weight" in tensors


def read(tensors: Mapping[str, Tensor]) -> Translated:
    """Translate ResNet-50, -101 and -152."""
    if "layer1.0.conv3.weight" not in tensors:
        raise CheckpointError(
            f"this {FAMILY} checkpoint has basic blocks (ResNet-18 or -34); supported are "
            "bottleneck networks (ResNet-50, -101, -152)"
        )
    renamed, skipped = rename(tensors, RULES, family=FAMILY, first_stage=1)
    options = {**geometry(renamed, family=FAMILY), "preprocessing": dict(IMAGENET)}
    return Translated(FAMILY, renamed, options, image=True, skipped=skipped, licence=LICENCE)


def inflate(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Spread the kernels of an image network over time.

    A clip that stands still then gives the responses of the image, away from the clip's ends.

    Args:
        tensors: convolutions (out, in, kh, kw) or (out, in, 1, kh, kw), and anything else.
        wanted: the tensors of the network, by the same keys.

    Returns:
        (tensors, keys of those that were spread over several frames).
    """
    inflated, spread = {}, []
    for key, tensor in tensors.items():
        target = wanted.get(key)
        if target is not None and target.dim() == 5 and tensor.dim() == 4:
            tensor = tensor.unsqueeze(2)
        if target is not None and target.dim() == tensor.dim() == 5 and tensor.shape[2] == 1:
            extent = target.shape[2]
            if extent > 1:
                tensor = tensor.repeat(1, 1, extent, 1, 1) / extent
                spread.append(key)
        inflated[key] = tensor
    return inflated, spread
