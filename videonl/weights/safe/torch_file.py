"""``torch.save`` files: checked first, then ``torch.load(weights_only=True)``.

``weights_only`` keeps a file from running code, but not from claiming a petabyte
(``bytearray(10**15)`` is on its list) and it refuses whole files for a date in their metadata.
So the pickle inside is first read by ``pickle_machine``, which imports nothing: its names must be
those of tensors and containers, and its storages must fit into the file. Classes that are only
metadata (MMEngine configs, dates) are left out, and the tensors are read here. Streams are wrapped
so that a read never allocates more than the file contains.
"""

import io
import math
import mmap
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from videonl.errors import CheckpointError
from videonl.weights.safe.kinds import kind_of_zip
from videonl.weights.safe.pickle_machine import (
    Call,
    Converter,
    Name,
    Persistent,
    parts_of,
    read_pickle,
)


@contextmanager
def mapped(source: bytes | io.BufferedReader) -> Iterator[IO[bytes]]:
    """A stream over bytes, or over a file that is mapped into memory.

    A plain file allocates the length that a pickle claims before it reads; these two do not.
    """
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        yield cast(IO[bytes], mapping)


class Bounded:
    """A file that refuses reads of more than a number of bytes at once.

    The standard library reads the whole directory of a zip archive, whatever size it claims.

    Args:
        file: open for reading bytes.
        most: largest number of bytes of one ``read``; may be changed.
    """

    def __init__(self, file: io.BufferedReader, most: int) -> None:
        self.file, self.most = file, most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self.name = file.name

    def read(self, size: int = -1) -> bytes:
        """Bytes from here.

        Raises:
            OSError: more than the bound.
        """
        if size > self.most:
            raise OSError(f"a part of {size} bytes, over the bound of {self.most}")
        return self.file.read(self.most if size < 0 else size)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


PROTOCOL = 2  # of the pickles that torch reads with weights_only
MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_MAGIC = bytes([0x80, PROTOCOL]) + MAGIC  # before torch 1.6: no zip
REBUILDS = ("_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_parameter")
TORCH_NAMES = frozenset(
    ["collections.OrderedDict", "collections.Counter", "torch.Size", "torch.device"]
    + ["builtins.set", "__builtin__.set"]
    + [f"torch._utils.{name}" for name in REBUILDS]
    + ["torch.serialization._get_layout", "torch.nn.parameter.Parameter", "_codecs.encode"]
)
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# Packages whose objects occur as metadata beside weights. They are never imported: the objects
# are left out, and the report says so.
METADATA = frozenset(
    {"addict", "argparse", "collections", "datetime", "fvcore", "lightning", "mmaction", "mmcv"}
    | {"mmengine", "numpy", "omegaconf", "pathlib", "pytorch_lightning", "yacs"}
)
BUILTIN_TYPES = frozenset({"bool", "complex", "dict", "float", "frozenset", "int", "list", "str"})
MAX_DIRECTORY = 4 * 1024 * 1024  # bytes: some 50,000 entries of a zip archive
MAX_PICKLE = 32 * 1024 * 1024  # bytes of the pickle inside, which holds no tensors
MAX_DIMENSIONS = 8
# Tensors that share memory (tied layers, a copy of the average) may claim more than the file has.
SHARED, SPARE = 4, 1024 * 1024
DTYPES = frozenset(f"torch.{str(dtype).removeprefix('torch.')}" for dtype in STORAGES.values())


def is_tensor_name(name: Name) -> bool:
    """Whether tensors and containers are made of such names."""
    storage = name.module == "torch" and name.name in STORAGES
    return str(name) in TORCH_NAMES or str(name) in DTYPES or storage


def is_rare_tensor_name(name: Name) -> bool:
    """Whether torch itself makes tensors of it, of a kind that no network here has."""
    if name.module == "torch" and isinstance(vars(torch).get(name.name), torch.dtype):
        return True
    made = name.module in ("torch._utils", "torch._tensor") and name.name.startswith("_rebuild_")
    return made or (name.module in ("torch", "torch.storage") and name.name.endswith("Storage"))


def is_metadata_name(name: Name) -> bool:
    """Whether it names a package or type of pure metadata, which is left out."""
    if name.module in ("builtins", "__builtin__"):
        return name.name in BUILTIN_TYPES
    return name.module.split(".")[0] in METADATA


def read_torch(path: Path, *, in_place: bool = False) -> tuple[Any, list[str]]:
    """(content, what was left out) of a ``torch.save`` file.

    Args:
        path: the file.
        in_place: leave the tensors in the file, mapped into memory, for reading only a few.

    Raises:
        CheckpointError: a damaged, hostile or unknown file.
    """
    left_out: set[str] = set()

    def allow(name: Name) -> bool:
        if is_tensor_name(name):
            return True
        if is_metadata_name(name):
            left_out.add(str(name))
            return True
        if is_rare_tensor_name(name):
            raise CheckpointError(
                f"{path} holds tensors of a rare kind ({name}: quantised, sparse, complex or of "
                "very few bits); save them as ordinary float32 ones"
            )
        return False

    with path.open("rb") as file:
        legacy = file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC  # as torch.load decides
    if not legacy:
        content, folder, protocol = survey_zip(path, allow)
        if left_out or protocol > PROTOCOL:
            with zipfile.ZipFile(path) as archive:
                rebuilt = _Rebuilder(path, archive, folder).convert(content)
            return rebuilt, sorted(f"objects of {name}" for name in left_out)
    else:
        survey_legacy(path, allow)
        if left_out:
            raise CheckpointError(
                f"{path} is an old torch.save file that also has {', '.join(sorted(left_out))}; "
                "load it where it was made and save its state_dict() alone"
            )
    return load_weights_only(path, in_place=in_place and not legacy), []


def load_weights_only(path: Path, *, in_place: bool) -> Any:
    """``torch.load(weights_only=True)``, without its advice to load the file unsafely."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=in_place)
    except Exception as error:  # a broken file raises anything: struct.error, AssertionError, …
        raise CheckpointError(
            f"{path} is damaged: torch cannot read it ({type(error).__name__}); download or copy "
            "it again"
        ) from None


def survey_zip(path: Path, allow: Any) -> tuple[Any, str, int]:
    """Check the archive and the pickle of a zip file; its inert content, folder and protocol.

    Raises:
        CheckpointError: compressed or overlapping entries, or storages larger than the file.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            stream = Bounded(file, MAX_DIRECTORY)
            with zipfile.ZipFile(stream) as archive:
                stream.most = MAX_PICKLE
                entries = archive.infolist()
                names = [entry.filename for entry in entries]
                pickles = [e for e in entries if e.filename.rsplit("/", 1)[-1] == "data.pkl"]
                other = kind_of_zip(names)
                if other is not None:
                    raise CheckpointError(f"{path} is {other}")
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                    raise CheckpointError(
                        f"{path} is a compressed zip archive, not a torch.save file; unpack it "
                        "and give a file from inside"
                    )
                if sum(entry.file_size for entry in entries) > size or len(set(names)) < len(names):
                    raise CheckpointError(f"{path}: the archive claims more bytes than it has")
                if pickles[0].file_size > MAX_PICKLE:
                    raise CheckpointError(
                        f"{path}: {pickles[0].file_size} bytes of description, over the limit of "
                        f"{MAX_PICKLE}; the file is refused"
                    )
                data = archive.read(pickles[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise CheckpointError(
            f"{path} is a damaged archive ({error}); download or copy it again"
        ) from None
    with mapped(data) as pickled:
        content = read_pickle(pickled, allow=allow, source=str(path), size=size)
    folder = pickles[0].filename.removesuffix("data.pkl")
    sizes = {entry.filename.removeprefix(f"{folder}data/"): entry.file_size for entry in entries}
    check_storages(content, path, sizes)
    return content, folder, data[1] if data[0] == 0x80 else 0


def survey_legacy(path: Path, allow: Any) -> None:
    """Check the pickles of a file from before torch 1.6: magic, protocol, system, content, keys.

    Raises:
        CheckpointError: as ``survey_zip``.
    """
    with path.open("rb") as file, mapped(file) as stream:
        for _ in range(3):
            read_pickle(stream, allow=lambda name: False, source=str(path))  # noqa: ARG005
        content = read_pickle(stream, allow=allow, source=str(path), size=path.stat().st_size)
    check_storages(content, path, None)


def check_storages(content: Any, path: Path, sizes: dict[str, int] | None) -> None:
    """Compare the claimed size of every storage with the bytes in the file.

    Args:
        content: what ``read_pickle`` made of the file.
        path: the file.
        sizes: bytes of every record of the archive; None for old files, where only the sum of
            all is known.
    """
    size = path.stat().st_size
    total, claimed, seen, waiting = 0, 0, set(), [content]
    while waiting:
        value = waiting.pop()
        # Counted each time it is named: whoever copies or converts them does so one by one.
        claimed += tensor_bytes(value, path)
        if id(value) in seen or not (parts := parts_of(value)):
            continue
        seen.add(id(value))
        waiting += parts
        if isinstance(value, Persistent):
            dtype, key, numel = storage_of(value, path)
            needed = numel * dtype.itemsize
            total += needed if key not in seen else 0
            seen.add(key)  # type: ignore[arg-type]
            if sizes is not None and sizes.get(key, -1) != needed:
                raise CheckpointError(
                    f"{path}: storage {key[:40]!r} claims {needed} bytes, but the archive has "
                    f"{sizes.get(key, 0)}; it is damaged or hostile"
                )
        if total > size or claimed > SHARED * size + SPARE:
            raise CheckpointError(
                f"{path}: its tensors claim {max(total, claimed)} bytes, more than the file of "
                f"{size} bytes has"
            )


def tensor_bytes(value: Any, path: Path) -> int:
    """Bytes that a tensor claims, which must lie within its storage; 0 for anything else.

    Raises:
        CheckpointError: invalid arguments, or it reaches beyond the storage.
    """
    if not isinstance(value, Call) or not is_rebuild(value.function):
        return 0
    arguments = value.arguments
    if value.function.name == "_rebuild_parameter":
        if arguments and isinstance(arguments[0], Call):
            return 0  # the tensor inside is counted
        raise CheckpointError(f"{path}: a parameter without a tensor; the file is refused")
    if len(arguments) < 4 or not isinstance(arguments[0], Persistent):
        raise CheckpointError(f"{path}: a tensor without a storage; the file is refused")
    dtype, _, numel = storage_of(arguments[0], path)
    offset, shape, stride = arguments[1], plain_sizes(arguments[2]), plain_sizes(arguments[3])
    if type(offset) is not int or offset < 0 or shape is None or stride is None:
        raise CheckpointError(f"{path}: a tensor with an invalid shape; the file is refused")
    if len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(
            f"{path}: a tensor of {len(shape)} dimensions; at most {MAX_DIMENSIONS} are supported"
        )
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= numel:
        raise CheckpointError(
            f"{path}: a tensor reaches beyond its storage: the file is damaged or hostile"
        )
    return math.prod(shape) * dtype.itemsize


def plain_sizes(value: Any) -> tuple[int, ...] | None:
    """A tuple of sizes, also in ``torch.Size(...)``; None for anything else."""
    if isinstance(value, Call) and str(value.function) == "torch.Size" and value.arguments:
        value = value.arguments[0]
    if isinstance(value, (tuple, list)) and all(type(n) is int and 0 <= n < 2**48 for n in value):
        return tuple(value)
    return None


def is_rebuild(name: Name) -> bool:
    """Whether a call with this name makes a tensor."""
    return name.module == "torch._utils" and name.name in REBUILDS


def storage_of(value: Persistent, path: Path) -> tuple[torch.dtype, str, int]:
    """(dtype, key, number of elements) of ``("storage", type, key, device, numel[, view])``."""
    parts = value.identifier
    if isinstance(parts, tuple) and len(parts) in (5, 6) and parts[0] in ("storage", b"storage"):
        kind, key, numel = parts[1], parts[2], parts[4]
        known = isinstance(kind, Name) and kind.name in STORAGES
        if known and type(numel) is int and numel >= 0:
            return STORAGES[kind.name], str(key), numel
    raise CheckpointError(f"{path}: a storage of an unknown kind; the file is refused")


class _Rebuilder(Converter):
    """Makes tensors from the inert content, and None from metadata."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(str(path))
        self.path, self.archive, self.folder = path, archive, folder
        self.storages: dict[str, Tensor] = {}
        if f"{self.folder}byteorder" in self.archive.namelist():
            order = self.archive.read(f"{self.folder}byteorder")
            if order != b"little":
                raise CheckpointError(
                    f"{path} was written on a big-endian machine; save it again on this one"
                )

    def made(self, value: Call | Name | Persistent) -> Any:
        """The tensor or table that a call makes; None for anything else."""
        if not isinstance(value, Call):
            return None
        if str(value.function) == "collections.OrderedDict":
            return OrderedDict((k, self.convert(v)) for k, v in value.items.items())
        if value.function.name == "_rebuild_parameter":
            return self.convert(value.arguments[0])
        return self.tensor(*value.arguments[:4]) if is_rebuild(value.function) else None

    def tensor(self, storage: Any, offset: Any, shape: Any, stride: Any) -> Tensor:
        """A tensor over a storage; ``check_storages`` found it within its bounds."""
        dtype, key, _ = storage_of(storage, self.path)
        shape, stride = plain_sizes(shape) or (), plain_sizes(stride) or ()
        if key not in self.storages:
            data = bytearray(self.archive.read(f"{self.folder}data/{key}"))
            flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            self.storages[key] = flat
        if 0 in shape:
            return torch.empty(shape, dtype=dtype)
        return self.storages[key].as_strided(shape, stride, offset).clone()
