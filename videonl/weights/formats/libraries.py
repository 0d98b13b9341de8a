"""torchvision's video networks and PyTorchVideo's other hub networks: their keys are ours.

Those networks are taken from the libraries (``videonl.models.baselines``); only the network that a
file belongs to has to be found. Whether it fits is checked when it is loaded.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from videonl.weights.translated import Translated

Tensors = Mapping[str, Tensor]
TORCHVISION = "torchvision (video)"
PYTORCHVIDEO = "PyTorchVideo"
NOTES = {
    "x3d_m": "X3D-XS, -S and -M have the same tensors; taken for M (its clips are 16 frames with "
    "stride 5 and short side 256; those of S 13, 6 and 182, of XS 4, 12 and 182)"
}
LICENCES = {TORCHVISION: "BSD-3-Clause (torchvision)", PYTORCHVIDEO: "Apache-2.0 (PyTorchVideo)"}


def flat_in_time(tensors: Tensors, key: str) -> bool:
    """Whether a convolution sees one frame only."""
    return key in tensors and tensors[key].dim() == 5 and tensors[key].shape[2] == 1


def has_residual(tensors: Tensors, ending: str) -> bool:
    """Whether some residual block of PyTorchVideo has a tensor of this name."""
    return any(key.startswith("blocks.") and key.endswith(ending) for key in tensors)


def grouped(tensors: Tensors) -> bool:
    """Whether the 3×3×3 convolutions see one channel each (CSN)."""
    weight = tensors.get("blocks.1.res_blocks.0.branch2.conv_b.weight")
    return weight is not None and weight.dim() == 5 and weight.shape[1:3] == (1, 3)


# network -> (family, whether these are its tensors); the first that fits is used
NETWORKS: dict[str, tuple[str, Callable[[Tensors], bool]]] = {
    "s3d": (TORCHVISION, lambda t: "features.0.0.0.weight" in t and "classifier.1.weight" in t),
    "r2plus1d_18": (
        TORCHVISION,
        lambda t: "stem.3.weight" in t and "layer1.0.conv1.0.0.weight" in t,
    ),
    "mc3_18": (
        TORCHVISION,
        lambda t: "stem.0.weight" in t and flat_in_time(t, "layer2.0.conv1.0.weight"),
    ),
    "r3d_18": (TORCHVISION, lambda t: "stem.0.weight" in t and "layer2.0.conv1.0.weight" in t),
    "x3d_m": (PYTORCHVIDEO, lambda t: "blocks.0.conv.conv_t.weight" in t),
    "r2plus1d_r50": (PYTORCHVIDEO, lambda t: has_residual(t, ".branch2.conv_b.conv_t.weight")),
    "csn_r101": (PYTORCHVIDEO, grouped),
}


def matches(tensors: Tensors) -> bool:
    """Whether these are the tensors of one of the networks."""
    return any(fits(tensors) for _, fits in NETWORKS.values())


def read(tensors: Tensors) -> Translated:
    """Name the network; the keys stay."""
    name, family = next(
        (name, family) for name, (family, fits) in NETWORKS.items() if fits(tensors)
    )
    notes = [NOTES[name]] if name in NOTES else []
    return Translated(family, dict(tensors), model_name=name, notes=notes, licence=LICENCES[family])
