"""The outside of a checkpoint: which kind of file is this, and what does it hold?

The first bytes decide, never the file name: published ``.pkl`` files were gzip archives once, and
an expired link downloads as a web page. Every kind is read without running anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videonl.errors import CheckpointError
from videonl.models.pretrained.mapped import mapped
from videonl.models.pretrained.numpy_pickle import read_arrays
from videonl.models.pretrained.tensors import read_safetensors
from videonl.models.pretrained.torch_file import LEGACY_MAGIC, read_torch

# What a file that is no checkpoint is, by its first bytes, and the way out.
NO_CHECKPOINTS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "a gzip archive; unpack it (tar -xzf or gunzip) and give a file from inside"),
    (b"BZh", "a bzip2 archive; unpack it and give a file from inside"),
    (b"\xfd7zXZ", "an xz archive; unpack it and give a file from inside"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it and give a file from inside"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras?), which no reader here knows"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file; run git lfs pull"),
    (b"%PDF", "a PDF"),
)
MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")
SAFETENSORS_SUFFIX = ".safetensors"


@dataclass
class Content:
    """What a checkpoint file holds.

    Attributes:
        path: the file.
        kind: "torch", "pickle" or "safetensors".
        data: a nest of dicts and lists with tensors, numbers and text at the ends.
        metadata: text beside the tensors (safetensors only).
        skipped: descriptions of what is in the file and was not read.
    """

    path: Path
    kind: str
    data: Any
    metadata: Mapping[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def read_content(path: str | Path) -> Content:
    """Read a checkpoint file of any kind, running nothing.

    Raises:
        CheckpointError: a file that is missing, empty, no checkpoint, damaged or hostile.
    """
    path = Path(path)
    kind = sniff(path)
    if kind == "torch":
        data, skipped = read_torch(path)
        return Content(path, kind, data, skipped=skipped)
    if kind == "safetensors":
        tensors, metadata = read_safetensors(path)
        return Content(path, kind, tensors, metadata)
    with path.open("rb") as file, mapped(file) as stream:
        return Content(path, kind, to_tensors(read_arrays(stream, str(path))))


def sniff(path: Path) -> str:
    """What wrote a file, by its first bytes: "torch", "pickle" or "safetensors".

    Raises:
        CheckpointError: says what the file is instead.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the checkpoint file inside")
    try:
        with path.open("rb") as stream:
            head = stream.read(600)
    except OSError as error:
        raise CheckpointError(
            f"{path} can not be read ({error.strerror}); check the path"
        ) from None
    if not head:
        raise CheckpointError(f"{path} is empty; fetch it again")
    for magic, what in NO_CHECKPOINTS:
        if head.startswith(magic):
            raise CheckpointError(f"{path} is {what}")
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(MARKUP):
        raise CheckpointError(
            f"{path} is a web page, not a checkpoint: the link has expired or needs a login"
        )
    if head[257:262] == b"ustar":
        raise CheckpointError(f"{path} is a tar archive; unpack it and give a file from inside")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", LEGACY_MAGIC)):
        return "torch"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return "safetensors"
    # Pickles: protocol 2 and up name themselves; older ones start with a container or a mark.
    if head[0] == 0x80 and head[1] <= 5:
        return "pickle"
    if head[:1] in (b"(", b"}", b"]") and path.suffix in (".pkl", ".pickle"):
        return "pickle"
    if path.suffix == SAFETENSORS_SUFFIX:
        raise CheckpointError(f"{path} is a damaged safetensors file; fetch it again")
    raise CheckpointError(
        f"{path} is no checkpoint that is known here (it starts with {head[:8].hex(' ')}): "
        "expected torch.save, safetensors or a Caffe2 pickle"
    )


def to_tensors(data: Any) -> Any:
    """Arrays of a nest of containers as tensors, in the machine's byte order.

    The nest was limited in depth when it was read.
    """
    if isinstance(data, np.ndarray):
        return to_tensor(data)
    if isinstance(data, dict):
        return {key: to_tensors(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(to_tensors(value) for value in data)
    return data


def to_tensor(array: np.ndarray) -> Tensor:
    """A tensor with its own memory."""
    native = array.astype(array.dtype.newbyteorder("="), order="C", copy=True)
    if native.dtype.kind == "u" and native.dtype.itemsize > 1:
        native = native.astype(np.int64)
    return torch.from_numpy(native)
