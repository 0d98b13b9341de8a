"""Which reader reads a file: the keys decide, never the file name."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from videonl.errors import CheckpointError
from videonl.models.pretrained import (
    baselines,
    caffe2,
    gluoncv,
    mmaction2,
    pyslowfast,
    pytorchvideo,
    torchvision_image,
)
from videonl.models.pretrained.container import Content
from videonl.models.pretrained.report import shorten
from videonl.models.pretrained.translated import Translated

WRAPPERS = ("blobs", "model_state", "state_dict", "model_state_dict", "model")
PARALLEL = "module."  # DistributedDataParallel
MAX_DIMENSIONS = 6

READERS: tuple[tuple[Callable[[Mapping[str, Tensor]], bool], Callable[..., Translated]], ...] = (
    (baselines.matches, lambda tensors, _: baselines.read(tensors)),
    (pytorchvideo.matches, lambda tensors, _: pytorchvideo.read(tensors)),
    (pyslowfast.matches, lambda tensors, data: pyslowfast.read(tensors, data.get("cfg"))),
    (caffe2.matches, lambda tensors, _: caffe2.read(tensors)),
    (mmaction2.matches, lambda tensors, data: mmaction2.read(tensors, data.get("meta"))),
    (gluoncv.matches, lambda tensors, _: gluoncv.read(tensors)),
    (torchvision_image.matches, lambda tensors, _: torchvision_image.read(tensors)),
)


def translate(content: Content) -> Translated:
    """Find the reader of a file and let it read.

    Raises:
        CheckpointError: no reader knows the keys, or the reader found something amiss.
    """
    tensors, skipped = unwrap(content)
    reader = next((read for matches, read in READERS if matches(tensors)), None)
    if reader is None:
        raise CheckpointError(
            f"{content.path}: no reader knows these keys: {shorten(list(tensors))}. Known are "
            "videonl, PyTorchVideo, PySlowFast, video-nonlocal-net (Caffe2), MMAction2, GluonCV "
            "and torchvision"
        )
    try:
        translated = reader(tensors, content.data)
    except CheckpointError as error:
        raise CheckpointError(f"{content.path}: {error}") from error
    translated.skipped += skipped + content.skipped
    return translated


def unwrap(content: Content) -> tuple[dict[str, Tensor], list[str]]:
    """(the tensors of the network, descriptions of what lies beside them).

    Raises:
        CheckpointError: no table of tensors, or a tensor that is no array of numbers.
    """
    data = content.data
    if not isinstance(data, Mapping):
        raise CheckpointError(f"{content.path} holds a {type(data).__name__}, not a state dict")
    inside = next((k for k in WRAPPERS if isinstance(data.get(k), Mapping)), None)
    weights: Mapping[Any, Any] = data if inside is None else data[inside]
    beside = [] if inside is None else [f"{key} (beside {inside})" for key in data if key != inside]
    tensors, skipped = {}, []
    for key, value in weights.items():
        if isinstance(value, Tensor) and isinstance(key, str):
            tensors[key] = checked(content, key, value)
        elif isinstance(value, (int, float, str)) or value is None:
            skipped.append(f"{key} (no tensor)")
        else:
            raise CheckpointError(
                f"{content.path}: entry {str(key)[:80]!r} is a {type(value).__name__}, not a tensor"
            )
    if not tensors:
        raise CheckpointError(f"{content.path} holds no tensors by name")
    if all(key.startswith(PARALLEL) for key in tensors):
        tensors = {key.removeprefix(PARALLEL): tensor for key, tensor in tensors.items()}
    return tensors, beside + skipped


def checked(content: Content, key: str, tensor: Tensor) -> Tensor:
    """The tensor, which must be a plain one; floats become float32 or stay float64.

    Raises:
        CheckpointError: sparse, quantised, complex or of too many dimensions.
    """
    odd = tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex()
    if odd or tensor.dim() > MAX_DIMENSIONS:
        raise CheckpointError(f"{content.path}: {key} is not a plain tensor of numbers")
    if tensor.is_floating_point() and tensor.element_size() < 4:
        return tensor.float()
    return tensor
