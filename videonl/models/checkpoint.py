"""A checkpoint file becomes a network: ours, or any published format that is known here."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videonl._version import __version__
from videonl.errors import CheckpointError, VideoNLError
from videonl.escapes import json_text
from videonl.models.pretrained.container import read_content
from videonl.models.pretrained.loading import load_published
from videonl.models.pretrained.own import OwnCheckpoint, read_own, sidecar_path
from videonl.models.pretrained.published import local_file
from videonl.models.pretrained.report import LoadReport, fill
from videonl.models.pretrained.tensors import write_safetensors


@dataclass
class LoadedModel:
    """A network out of a file, in evaluation mode, with what belongs to it.

    Attributes:
        model: the network.
        class_names: names in the order of its logits, or None where nobody knows them.
        preprocessing: frames, stride, short_side, crop, mean and std of its clips.
        provenance: file, SHA-256, family, licence and the like; primitives only.
        report: what was loaded, skipped and new.
        multi_label: a video may have several of the classes, each with a probability of its own.
    """

    model: nn.Module
    class_names: list[str] | None
    preprocessing: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)
    report: LoadReport = field(default_factory=lambda: LoadReport("", ""))
    multi_label: bool = False


def load_checkpoint(
    path: str | Path,
    *,
    num_classes: int | None = None,
    device: str | torch.device = "cpu",
    options: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
) -> LoadedModel:
    """Make the network of a checkpoint file and fill it, running nothing from the file.

    Args:
        path: a ``.ckpt`` of ``train.py``, a ``.safetensors`` of ``videonl convert``, or a
            published checkpoint (PyTorchVideo, PySlowFast, video-nonlocal-net, MMAction2,
            GluonCV, torchvision); or the name of published weights (``videonl models``).
        num_classes: None for those of the file; another number starts a fresh classifier.
        device: where to put the network.
        options: options of the network that win over what the file says. Some formats do not
            say all: ``{"preset": "official_32x2"}`` tells an official file's strides.
        class_names: names for the logits, where the file has none or others are meant.

    Raises:
        CheckpointError: an unknown, unsafe or incomplete file; the message lists the keys.
    """
    path = local_file(path)
    content = read_content(path)
    own = read_own(content)
    if own is None:
        model, report, names, about = load_published(
            content, num_classes=num_classes, options=options
        )
        loaded = LoadedModel(model, names, dict(model.preprocessing), about, report)  # type: ignore[arg-type]
    else:
        loaded = load_own(path, own, num_classes=num_classes, options=options)
    if class_names is not None:
        loaded.class_names = checked_names(class_names, loaded.model)
    loaded.model.load_report = loaded.report  # type: ignore[assignment]
    loaded.model.to(device).eval()
    return loaded


def load_own(
    path: Path, own: OwnCheckpoint, *, num_classes: int | None, options: Mapping[str, Any] | None
) -> LoadedModel:
    """The network of a file of our making."""
    from videonl.models.registry import create_model

    classes = own.config["num_classes"] if num_classes is None else num_classes
    report = LoadReport(str(path), "videonl", skipped=list(own.skipped))
    try:
        model = create_model(
            own.config["name"],
            num_classes=classes,
            **{**own.config["options"], **(options or {})},
        )
    except VideoNLError as error:
        raise CheckpointError(f"{path}: its network can not be made: {error}") from error
    tensors = own.tensors
    fresh: list[str] = []
    if classes != own.config["num_classes"]:
        tensors, fresh = without_head(model, tensors, report)
    fill(model, tensors, report, fresh=fresh)
    if own.preprocessing:
        model.preprocessing = own.preprocessing  # type: ignore[assignment]
    return LoadedModel(
        model,
        own.class_names if classes == own.config["num_classes"] else None,
        own.preprocessing or dict(model.preprocessing),  # type: ignore[arg-type]
        {"file": path.name, **own.provenance},
        report,
        multi_label=own.multi_label,
    )


def without_head(
    model: nn.Module, tensors: Mapping[str, torch.Tensor], report: LoadReport
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """(tensors without the classifier, its keys), where ``num_classes`` asks for a fresh one."""
    own = model.state_dict()
    head = [k for k in tensors if k in own and tensors[k].shape != own[k].shape]
    head = sorted({k.rpartition(".")[0] for k in head})
    dropped = [k for k in tensors if k.rpartition(".")[0] in head]
    report.skipped += [f"{k} (classifier for other classes)" for k in dropped]
    return {k: v for k, v in tensors.items() if k not in dropped}, [f"{name}." for name in head]


def checked_names(names: Sequence[str], model: nn.Module) -> list[str]:
    """The names as a list, after their number was compared with the network's.

    Raises:
        CheckpointError: another number of names than of logits.
    """
    wanted = dict(getattr(model, "config", {})).get("num_classes")
    if wanted is not None and len(names) != wanted:
        raise CheckpointError(f"{len(names)} class names for a network of {wanted} classes")
    return [str(name) for name in names]


def save_checkpoint(
    loaded: LoadedModel, path: str | Path, *, provenance: Mapping[str, Any] | None = None
) -> Path:
    """Write ``model.safetensors`` and its sidecar ``model.json``.

    Args:
        loaded: a network with ``config``, its class names and preprocessing.
        path: ends with ``.safetensors``.
        provenance: more entries for the provenance.

    Returns:
        The path of the sidecar.

    Raises:
        CheckpointError: another suffix, or a folder that can not be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} must end with .safetensors")
    if not path.parent.is_dir():
        raise CheckpointError(f"the folder {path.parent} does not exist; make it first")
    about = {
        "format": "videonl",
        "videonl_version": __version__,
        "model": loaded.model.config,
        "class_names": loaded.class_names,
        "preprocessing": loaded.preprocessing,
        "multi_label": loaded.multi_label,
        "provenance": {**loaded.provenance, **(provenance or {})},
    }
    compact = json_text(about, sort_keys=True)
    write_safetensors(path, loaded.model.state_dict(), {"videonl": compact})
    beside = sidecar_path(path)
    beside.write_text(json_text(about, indent=2) + "\n", encoding="utf-8")
    return beside


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
