"""Readers of published checkpoints, a file per publisher; keys choose it, never a file's name."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from videonl.errors import CheckpointError, one_line
from videonl.shares import few
from videonl.weights.declared import check_preprocessing
from videonl.weights.fitting import ODD_VALUES
from videonl.weights.formats import caffe2, gluoncv, mmaction2, pyslowfast, pytorchvideo
from videonl.weights.formats import libraries as baselines
from videonl.weights.formats import torchvision as torchvision_image
from videonl.weights.safe import Content
from videonl.weights.tables import check_claims, find_table, strip_wrappers
from videonl.weights.translated import Translated

OUR_KEYS = ("stem.conv.weight", "head.projection.weight")
MAX_DIMENSIONS = 6

READERS: tuple[
    tuple[Callable[[Mapping[str, Tensor]], bool], Callable[["Unwrapped", Any], Translated]], ...
] = (
    (baselines.matches, lambda found, _: baselines.read(found.tensors)),
    (pytorchvideo.matches, lambda found, _: pytorchvideo.read(found.tensors, is_copy(found))),
    (pyslowfast.matches, lambda found, data: pyslowfast.read(found.tensors, data.get("cfg"))),
    (caffe2.matches, lambda found, _: caffe2.read(found.tensors)),
    (mmaction2.matches, lambda found, data: mmaction2.read(found.tensors, data.get("meta"))),
    (gluoncv.matches, lambda found, _: gluoncv.read(found.tensors)),
    (torchvision_image.matches, lambda found, _: torchvision_image.read(found.tensors)),
)


def is_copy(found: "Unwrapped") -> bool:
    """Whether PySlowFast wrote it around a PyTorchVideo network (its ``PTVResNet``)."""
    return found.table == "model_state" and found.prefixes[-1:] == ("model.",)


@dataclass(frozen=True)
class Unwrapped:
    """The weights of a published file.

    Attributes:
        tensors: by the network's own keys.
        table: name of the table that holds them; None if the file is the table.
        prefixes: what was taken off every key.
        skipped: descriptions of what else is in the file.
        notes: the choice, if there was one.
    """

    tensors: dict[str, Tensor]
    table: str | None
    prefixes: tuple[str, ...]
    skipped: list[str]
    notes: list[str]


def reader_of(tensors: Mapping[str, Tensor]) -> Callable[..., Translated] | None:
    """The reader that knows these keys; None if none does."""
    return next((read for matches, read in READERS if matches(tensors)), None)


def translate(content: Content, *, weights: str | None = None) -> Translated:
    """Find the reader of a file and read the file with it.

    Args:
        content: of the file.
        weights: name of the table to take, if a file has several (current and averaged).

    Raises:
        CheckpointError: no reader knows the keys, or the reader found an error.
    """
    found = unwrap(content, weights)
    reader = reader_of(found.tensors)
    if reader is None:
        raise CheckpointError(f"{content.path}: {strange_keys(found.tensors)}")
    try:
        translated = reader(found, content.data)
    except CheckpointError as error:
        raise CheckpointError(f"{content.path}: {error}") from error
    except ODD_VALUES as error:  # a text where its publisher writes a number
        raise CheckpointError(
            f"{content.path}: what the file says of its network cannot be understood "
            f"({one_line(error)})"
        ) from error
    check_preprocessing(translated.options.get("preprocessing", {}), content.path)
    translated.skipped += found.skipped + content.skipped
    translated.notes += found.notes
    return translated


def strange_keys(tensors: Mapping[str, Tensor]) -> str:
    """The message about keys that no reader knows."""
    if all(any(key.endswith(ours) for key in tensors) for ours in OUR_KEYS):
        return (
            "a bare state dict of a videonl network names neither its network nor its strides; "
            "give the .ckpt of its training, or make the network, load the state dict into it and "
            "write it with videonl.weights.checkpoint.save_checkpoint"
        )
    return (
        f"no reader knows these keys: {few(list(tensors), 4)}. Supported are videonl, "
        "PyTorchVideo, PySlowFast, video-nonlocal-net (Caffe2), MMAction2, GluonCV and torchvision"
    )


def unwrap(content: Content, weights: str | None = None) -> Unwrapped:
    """The tensors of the network, by its own keys.

    Raises:
        CheckpointError: no table of tensors, or a tensor that is not an array of numbers.
    """
    data = content.data
    if not isinstance(data, Mapping):
        raise CheckpointError(f"{content.path} contains a {type(data).__name__}, not a state dict")
    table, name, others = find_table(data, wanted=weights, path=content.path)
    skipped = [f"{str(key)[:200]} (beside {name})" for key in data if name and key != name]
    notes = []
    if others:
        notes.append(
            f"the weights of {name!r} are used; the file also contains {', '.join(others)}: "
            f"--option weights={others[0]} (fit: --model.options.weights {others[0]}) uses those"
        )
        warnings.warn(f"{content.path}: {notes[0]}", stacklevel=2)
    plain: dict[str, Tensor] = {}
    for key, value in table.items():
        if isinstance(value, Tensor) and isinstance(key, str):
            plain[key] = value
        elif isinstance(value, (int, float, str)) or value is None:
            skipped.append(f"{str(key)[:200]} (not a tensor)")
        else:
            raise CheckpointError(
                f"{content.path}: entry {str(key)[:80]!r} is a {type(value).__name__}, not a "
                "tensor; give a file with the weights by name, such as a state_dict"
            )
    if not plain:
        raise CheckpointError(f"{content.path} contains no tensors by name")
    check_claims(plain, content.path)
    inner, prefixes, beside = strip_wrappers(
        plain, lambda here: reader_of(here) is not None, any_name=True
    )
    tensors = {key: checked(content, key, value) for key, value in inner.items()}
    return Unwrapped(tensors, name, prefixes, skipped + beside, notes)


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
