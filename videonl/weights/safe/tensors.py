"""safetensors: a header of names, dtypes and offsets, then bytes; it contains no code."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from videonl.errors import CheckpointError
from videonl.escapes import parse_json

MAX_HEADER = 4 * 1024 * 1024  # bytes; a thousand tensors take 100,000
MAX_DIMENSIONS = 8


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a safetensors file.

    Raises:
        CheckpointError: the header contradicts the file.
    """
    from safetensors import SafetensorError, safe_open

    check_header(path)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, ValueError, OSError, RuntimeError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} is a damaged safetensors file ({error})") from None


def check_header(path: Path) -> None:
    """Compare what the header claims with the size of the file, before anything is allocated.

    Raises:
        CheckpointError: the header is too large, not JSON, or points outside of the file.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(MAX_HEADER, size - 8):
            raise CheckpointError(
                f"{path}: the safetensors header claims {length} bytes in a file of {size} (at "
                f"most {MAX_HEADER} are read); the file is damaged or hostile"
            )
        try:
            header = parse_json(stream.read(length))
        except ValueError:  # also an integer of thousands of digits
            raise CheckpointError(f"{path}: the safetensors header is not JSON") from None
    entries = header.items() if isinstance(header, dict) else ()
    for name, entry in entries:
        if name == "__metadata__":
            continue
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if isinstance(shape, list) and len(shape) > MAX_DIMENSIONS:
            raise CheckpointError(
                f"{path}: tensor {name[:80]!r} has {len(shape)} dimensions; at most "
                f"{MAX_DIMENSIONS} are supported"
            )
        if not _inside(offsets, size - length):
            raise CheckpointError(
                f"{path}: tensor {name[:80]!r} lies outside of the file; it is damaged or hostile"
            )


def _inside(offsets: object, size: int) -> bool:
    if not isinstance(offsets, list) or len(offsets) != 2:
        return False
    begin, end = offsets
    return type(begin) is int and type(end) is int and 0 <= begin <= end <= size


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors to a path of ``whole_file``; a copy is made where two names share memory."""
    from safetensors.torch import save_file

    owned = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
    save_file(owned, str(path), metadata=dict(metadata))
