"""A network as one file that runs without this library: ONNX, or PyTorch's own exported program.

The file takes normalised clips, float32 (batch, 3, frames, height, width), and gives logits
(batch, classes); class names, preprocessing and the checkpoint's identity are stored in it as
metadata. It is run and compared with the network itself before it gets its name.
"""

import copy
import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videonl import __version__
from videonl.errors import OutputError, VideoNLError, one_line
from videonl.escapes import json_text
from videonl.files import careful_stream, whole_file
from videonl.inference.export_formats import (
    difference_of,
    run_onnx,
    run_program,
    set_forms,
    trace,
    write_onnx,
    write_program,
)
from videonl.inference.predictor import Predictor
from videonl.models.finite import check_answers
from videonl.video.preprocessing import Preprocessing

FORMATS = {"onnx": ".onnx", "torch-export": ".pt2"}
# Largest difference of a logit that counts as rounding, relative to the largest logit.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """A file that was written and agrees with its network.

    Attributes:
        path: the file.
        format: "onnx" or "torch-export".
        clip: (frames, height, width) with which it was made.
        dynamic: the dimensions that may have other sizes: "batch", and "frames" where possible.
        fixed_because: why the number of frames is fixed, or "".
        difference: largest difference of a logit from the network's, relative to the largest logit.
        compared: the shapes of the clips that were compared.
        forms: block -> "fast" or "reference": the form in which it is written.
    """

    path: Path
    format: str
    clip: tuple[int, int, int]
    dynamic: tuple[str, ...]
    fixed_because: str
    difference: float
    compared: tuple[tuple[int, ...], ...]
    forms: dict[str, str]


def format_of(path: str | os.PathLike[str], given: str | None) -> str:
    """The format that is asked for, or that the ending of a file says.

    Raises:
        VideoNLError: it is unknown, or the two say different things.

    Example:
        >>> format_of("net.pt2", None), format_of("net", None)
        ('torch-export', 'onnx')
    """
    if given not in (None, *FORMATS):
        raise VideoNLError(f"--format {given}: use one of {', '.join(FORMATS)}")
    said = {ending: name for name, ending in FORMATS.items()}.get(Path(path).suffix.lower())
    if given and said and given != said:
        raise VideoNLError(
            f"--out {os.fspath(path)} ends as a file of --format {said}, and --format {given} is "
            f"asked for; give it the ending {FORMATS[given]}"
        )
    return given or said or "onnx"


def export_model(
    predictor: Predictor,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    clip: tuple[int, int, int] | None = None,
) -> Exported:
    """Write the network of a predictor to a file and check it.

    The batch size is always dynamic, the number of frames where the network allows it; height and
    width are fixed.

    Args:
        predictor: the network and what belongs to it; it is exported from the CPU.
        path: the file to write; it appears only when it is complete and agrees.
        format: "onnx" (checked with onnxruntime) or "torch-export" (with torch.export.load); None:
            by the ending of the file, else "onnx".
        clip: (frames, height, width) of the clips; those of the preprocessing by default.

    Raises:
        VideoNLError: a format that is unknown or not that of the ending, missing packages, a
            network that cannot be exported, or a file that disagrees with the network.
    """
    format = format_of(path, format)
    if format == "onnx":
        require("onnx", "onnxscript", "onnxruntime")
    path = Path(path)
    if not path.parent.is_dir():
        raise VideoNLError(f"{path}: the folder {path.parent} does not exist")
    known = predictor.preprocessing
    clip = clip or (known.frames, *known.clip_size)
    net = copy.deepcopy(predictor.model).to("cpu").float().eval()
    forms = set_forms(net, format)
    because = "" if clip[0] > 1 else "a graph of a single frame is for single frames"
    for dynamic in (False,) if because else (True, False):
        try:
            made = write_checked(predictor, net, path, format, clip, dynamic=dynamic)
            break
        except OutputError:
            raise
        except VideoNLError as error:
            if not dynamic:
                raise
            because = one_line(error)
    difference, compared = made
    return Exported(
        path=path,
        format=format,
        clip=clip,
        dynamic=("batch",) if because else ("batch", "frames"),
        fixed_because=because,
        difference=difference,
        compared=compared,
        forms=forms,
    )


def write_checked(
    predictor: Predictor,
    net: nn.Module,
    path: Path,
    format: str,
    clip: tuple[int, int, int],
    *,
    dynamic: bool,
) -> tuple[float, tuple[tuple[int, ...], ...]]:
    """Capture, write, run and compare; the file gets its name only if it agrees.

    Args:
        predictor: has the network to compare with.
        net: the network in the forms to capture.
        path: the file to write.
        format: of :data:`FORMATS`.
        clip: (frames, height, width).
        dynamic: make the number of frames dynamic, and compare another number as well.

    Returns:
        The largest difference, and the shapes of the clips that were compared.

    Raises:
        VideoNLError: it cannot be captured, written or run, or it disagrees.
    """
    frames, size = clip[0], clip[1:]
    known = predictor.preprocessing
    program = trace(net, example_clip(known, 2, frames, size), frames_too=dynamic)
    about = metadata(predictor, clip=clip, dynamic=dynamic)
    shapes = [(1, frames), (3, frames)]
    if dynamic:
        shapes.append((2, 2 * frames if frames <= 16 else frames // 2))
    clips = [example_clip(known, batch, count, size) for batch, count in shapes]
    # torch.export.load requires this ending.
    with whole_file(path, ending=FORMATS[format]) as part:
        with careful_stream(part, shown=path) as stream:
            (write_onnx if format == "onnx" else write_program)(program, stream, about)
        run = run_onnx if format == "onnx" else run_program
        difference = compare(predictor.model, part, run, clips)
        if not difference <= TOLERANCE:
            raise VideoNLError(
                f"{path}: not written: its logits differ from those of the network by "
                f"{difference:.1e} of the largest (allowed: {TOLERANCE:.0e})"
            )
    return difference, tuple(tuple(each.shape) for each in clips)


def require(*packages: str) -> None:
    """Import optional packages.

    Raises:
        VideoNLError: names the missing ones and how to get them.
    """
    missing = []
    for package in packages:
        try:
            import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise VideoNLError(
            f"--format onnx needs {' and '.join(missing)}: pip install 'videonl[export]'"
        )


def example_clip(
    preprocessing: Preprocessing, batch: int, frames: int, size: tuple[int, int]
) -> Tensor:
    """Seeded noise, normalised like pictures: float32 (batch, 3, frames, *size)."""
    generator = torch.Generator().manual_seed(frames + batch)
    clip = torch.rand(batch, 3, frames, *size, generator=generator)
    mean, std = (torch.tensor(each).view(3, 1, 1, 1) for each in preprocessing.colours)
    return (clip - mean) / std


def compare(model: nn.Module, file: Path, run: Any, clips: list[Tensor]) -> float:
    """The largest difference of a logit between file and network, relative to the largest logit.

    Raises:
        NotFiniteError: the network's output is NaN or infinite.
    """
    worst = 0.0
    device = next(model.parameters()).device
    for clip, got in zip(clips, run(file, clips), strict=True):
        with torch.no_grad():
            expected = check_answers(model(clip.to(device)).float().cpu())
        worst = max(worst, difference_of(got, expected))
    return worst


def metadata(predictor: Predictor, *, clip: tuple[int, int, int], dynamic: bool) -> dict[str, str]:
    """The metadata of the file: plain values, as JSON where they are not text."""
    frames, height, width = clip
    return {
        "videonl_version": __version__,
        "class_names": json_text(predictor.class_names),
        "preprocessing": json_text(predictor.preprocessing.to_dict()),
        "model": json_text(predictor.about, default=str),
        "input": json_text(
            {
                "layout": "batch, channels (RGB), frames, height, width",
                "frames": frames,
                "frames_dynamic": dynamic,
                "height": height,
                "width": width,
                "values": "(pixel / 255 - mean) / std",
            }
        ),
        "output": "logits; probabilities are their "
        + ("sigmoid" if predictor.multi_label else "softmax"),
        "multi_label": json_text(predictor.multi_label),
    }
