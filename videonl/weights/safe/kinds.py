"""What a file that is not a checkpoint is instead, by its first bytes, and what to do."""

from collections.abc import Sequence
from pathlib import Path

from videonl.files import POINTERS
from videonl.shares import few
from videonl.weights.run_folder import SUFFIXES

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "a gzip archive; unpack it (tar -xzf or gunzip) and give a file from inside"),
    (b"BZh", "a bzip2 archive; unpack it and give a file from inside"),
    (b"\xfd7zXZ", "an xz archive; unpack it and give a file from inside"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it and give a file from inside"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it (unzstd) and give a file from inside"),
    (b"Rar!", "a RAR archive; unpack it and give a file from inside"),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file (Keras weights, .h5), which videonl cannot read; give the same network's "
        "PyTorch weights",
    ),
    (b"\x93NUMPY", "a NumPy array (.npy), not a table of weights"),
    (b"GGUF", "a GGUF file, which holds a language model"),
    (b"model_checkpoint_path:", "the index of a folder of TensorFlow checkpoints, not weights"),
    *POINTERS,
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x1aE\xdf\xa3", "a video, not a checkpoint"),
)
INSIDE: tuple[tuple[int, bytes, str], ...] = (  # at a place after the start
    (257, b"ustar", "a tar archive; unpack it and give a file from inside"),
    (4, b"TFL3", "a TensorFlow Lite model, which videonl cannot read"),
    (4, b"ftyp", "a video, not a checkpoint"),
)
MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<error", b"<!--")
WEB_PAGE = "a web page, not a checkpoint: the link has expired or needs a login"
NOT_FOUND = (b"404", b"not found", b"entry not found", b"access denied", b"invalid username")
TENSORFLOW_TABLE = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # the last bytes of a .index file
TENSORFLOW = (
    "part of a TensorFlow checkpoint, which videonl cannot read; give the same network's PyTorch "
    "weights"
)
ONNX = (
    "an ONNX model, which holds a finished graph; give the weights that it was exported from "
    "(.pth, .ckpt, .safetensors)"
)
SCRIPT = (
    "a TorchScript program (torch.jit.save), not a checkpoint, and programs of others are not run "
    "here; if you trust it, save its weights alone: "
    "torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), 'weights.pth')"
)
WEIGHTS = (*SUFFIXES, ".tar", ".bin")
SHOWN = 3


def kind_of(head: bytes, path: Path) -> str | None:
    """What a file is, in words that follow "FILE is"; None where it may be a checkpoint.

    Args:
        head: its first bytes, some hundred.
        path: the file; its last bytes and its suffix decide where the first bytes do not.
    """
    for magic, what in MAGIC:
        if head.startswith(magic):
            return what
    for place, magic, what in INSIDE:
        if head[place:].startswith(magic):
            return what
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith(MARKUP):
        return "an OpenVINO graph, not weights" if b"<net " in text else WEB_PAGE
    if text.startswith(NOT_FOUND):
        return WEB_PAGE
    if text.startswith((b'{"', b"{\n", b'["', b"[{")):
        return "a JSON text, not weights; give the file of weights that it describes"
    if path.suffix == ".onnx" or is_onnx(head):
        return ONNX
    if path.suffix == ".pb" or ".data-0" in path.name or tail(path) == TENSORFLOW_TABLE:
        return TENSORFLOW
    return None


def is_onnx(head: bytes) -> bool:
    """Whether a protobuf begins with the version of ONNX and the name of a producer."""
    if len(head) < 8 or head[0] != 0x08 or not 1 <= head[1] <= 20 or head[2] != 0x12:
        return False
    producer = head[4 : 4 + head[3]]
    return 0 < len(producer) < 40 and producer.isascii() and producer.decode().isprintable()


def tail(path: Path, size: int = 8) -> bytes:
    """The last bytes of a file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read(size)


def kind_of_zip(names: Sequence[str]) -> str | None:
    """What a zip archive is, in words that follow "FILE is"; None for one of ``torch.save``.

    Args:
        names: of its entries.
    """
    ends = {name.rsplit("/", 1)[-1] for name in names}
    if any("/code/" in name for name in names) and ends & {"data.pkl", "constants.pkl"}:
        return SCRIPT
    if "model.weights.h5" in ends:
        return "a Keras model (.keras), which videonl cannot read"
    if "extern_modules" in ends:
        return "a torch.package, which holds programs; save its state_dict() alone"
    if ends & {"serialized_exported_program.json", "archive_format"}:
        return "a program of torch.export, not a checkpoint; save the network's state_dict()"
    if any(name.startswith("MAR-INF/") for name in names):
        return "an archive of TorchServe; unpack it and give the file of weights inside"
    if sum(name.rsplit("/", 1)[-1] == "data.pkl" for name in names) == 1:
        return None
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays (.npz), which videonl cannot read"
    weights = [name for name in names if name.lower().endswith(WEIGHTS)]
    if weights:
        return f"a zip archive; unpack it and give a file from inside: {listed(weights)}"
    return f"a zip archive, but not of torch.save (it contains {listed(names) or 'nothing'})"


def listed(names: Sequence[str]) -> str:
    """The first names, shortened."""
    return few([repr(name[:60])[1:-1] for name in names], SHOWN)
