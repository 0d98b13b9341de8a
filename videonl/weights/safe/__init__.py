"""Readers of untrusted files: which kind of checkpoint a file is, read without running anything.

The first bytes decide, never the file name: published ``.pkl`` files were gzip archives once, and
an expired link downloads as a web page.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videonl.errors import CheckpointError
from videonl.weights.safe.kinds import kind_of
from videonl.weights.safe.numpy_pickle import read_arrays
from videonl.weights.safe.tensors import read_safetensors
from videonl.weights.safe.torch_file import LEGACY_MAGIC, MAGIC, mapped, read_torch

SAFETENSORS_SUFFIX = ".safetensors"


@dataclass
class Content:
    """The content of a checkpoint file.

    Attributes:
        path: the file.
        kind: "torch", "pickle" or "safetensors".
        data: nested dicts and lists of tensors, numbers and text.
        metadata: text beside the tensors (safetensors only).
        skipped: descriptions of what is in the file and was not read.
    """

    path: Path
    kind: str
    data: Any
    metadata: Mapping[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def read_content(path: str | Path, *, in_place: bool = False) -> Content:
    """Read a checkpoint file of any kind, running nothing.

    Args:
        path: the file.
        in_place: see ``read_torch``.

    Raises:
        CheckpointError: a file that is missing, empty, no checkpoint, damaged or hostile.
    """
    path = Path(path)
    kind = sniff(path)
    if kind == "torch":
        data, skipped = read_torch(path, in_place=in_place)
        return Content(path, kind, data, skipped=skipped)
    if kind == "safetensors":
        tensors, metadata = read_safetensors(path)
        return Content(path, kind, tensors, metadata)
    with path.open("rb") as file, mapped(file) as stream:
        return Content(path, kind, read_arrays(stream, str(path), size=path.stat().st_size))


def sniff(path: Path) -> str:
    """The format of a file by its first bytes: "torch", "pickle" or "safetensors".

    Raises:
        CheckpointError: says what kind of file it is instead.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the checkpoint file inside")
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is a device or a pipe; a checkpoint is a file")
    try:
        with path.open("rb") as stream:
            head = stream.read(600)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); check the path") from None
    if not head:
        raise CheckpointError(f"{path} is empty; download or copy it again")
    other = kind_of(head, path)
    if other is not None:
        raise CheckpointError(f"{path} is {other}")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", LEGACY_MAGIC)):
        return "torch"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return "safetensors"
    # Pickles: protocol 2 and up name themselves; older ones start with a container or a mark.
    if head[0] == 0x80 and head[1:2] <= b"\x05":
        if MAGIC in head[:24]:
            raise CheckpointError(
                f"{path} is an old torch.save file of pickle protocol {head[1]}; load it where it "
                "was made, and save it again without pickle_protocol"
            )
        return "pickle"
    if head[:1] in (b"(", b"}", b"]") and path.suffix in (".pkl", ".pickle"):
        return "pickle"
    if path.suffix == SAFETENSORS_SUFFIX:
        raise CheckpointError(f"{path} is a damaged safetensors file; download or copy it again")
    raise CheckpointError(
        f"{path} is not a supported checkpoint (it starts with {beginning(head)}): expected a "
        "file of torch.save, safetensors or a Caffe2 pickle"
    )


def beginning(head: bytes) -> str:
    """The first bytes: as text where they are text."""
    first = head[:40].decode("utf-8", errors="ignore").split("\n")[0]
    return repr(first) if first.isprintable() and len(first) > 3 else head[:8].hex(" ")
