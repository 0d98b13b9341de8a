"""Load a checkpoint file of any supported format, and save one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videonl import __version__
from videonl.class_names import read_class_names
from videonl.errors import CheckpointError
from videonl.escapes import json_text
from videonl.files import is_stream, sha256, whole_file, write_text
from videonl.shares import counted
from videonl.video.preprocessing import RULES, Preprocessing
from videonl.video.protocols import under_protocol
from videonl.weights.declared import changed_by, preprocessing_in_file
from videonl.weights.fitting import Wanted
from videonl.weights.formats.own import OwnCheckpoint, read_own
from videonl.weights.heads import without_heads
from videonl.weights.loading import load_published
from videonl.weights.published import PUBLISHED, local_file
from videonl.weights.report import LoadReport, check_fit
from videonl.weights.run_folder import sidecar_path
from videonl.weights.safe import read_content
from videonl.weights.safe.tensors import write_safetensors


@dataclass
class LoadedModel:
    """A network from a file, in evaluation mode, with everything that belongs to it.

    Attributes:
        model: the network.
        class_names: names in the order of its logits, or None if unknown.
        preprocessing: the table of its ``videonl.video.Preprocessing``, primitives.
        provenance: file, SHA-256, family, licence and the like; primitives only.
        report: what was loaded, skipped and new.
        multi_label: a video may have several of the classes, each with its own probability.
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
    options: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    network: str | None = None,
) -> LoadedModel:
    """Make the network of a checkpoint file and fill it; no code in the file is run.

    Args:
        path: a ``.ckpt`` of ``train.py``, a ``.safetensors`` of ``videonl convert``, or a
            published checkpoint (PyTorchVideo, PySlowFast, video-nonlocal-net, MMAction2,
            GluonCV, torchvision); or the name of published weights (``videonl models``) or of a
            repository on the hub (``hf:user/name``).
        num_classes: None for those of the file; for another number the classifier is new.
        options: options of the network that override those of the file. Some formats do not
            contain all: ``{"preset": "official_32x2"}`` gives an official file's strides. Entries
            of a ``Preprocessing``, such as ``test_crop``, override likewise; ``protocol`` names a
            publisher's test (``videonl.video.protocols``) in whose way videos are viewed.
        class_names: names for the logits, if the file has none or others are meant.
        network: the name of its network, if that is ``package.module:function``: such a name is
            imported only if the caller gives it too.

    Raises:
        CheckpointError: an unknown, unsafe or incomplete file; the message lists the keys.
    """
    path = local_file(path)
    options = dict(options or {})
    protocol = options.pop("protocol", None)
    said = {key: options.pop(key) for key in list(options) if key in RULES}
    content = read_content(path)
    own = read_own(content, network=network)
    if own is None:
        model, report, translated, about = load_published(
            content, num_classes=num_classes, options=options
        )
        clips: Any = model.preprocessing
        loaded = LoadedModel(model, translated.class_names, dict(clips), about, report)
        loaded.multi_label = translated.multi_label
    else:
        loaded = load_own(path, own, num_classes=num_classes, options=options)
    if protocol is not None:
        shown = under_protocol(Preprocessing.from_dict(loaded.preprocessing), str(protocol))
        loaded.preprocessing = loaded.model.preprocessing = shown.to_dict()  # type: ignore[assignment]
    if said:
        clips = changed_by(loaded.preprocessing, said, "--option").to_dict()
        loaded.preprocessing = loaded.model.preprocessing = clips
    if class_names is not None:
        loaded.class_names = checked_names(class_names, loaded.model)
    loaded.model.load_report = loaded.report  # type: ignore[assignment]
    loaded.model.eval()
    return loaded


def load_own(
    path: Path, own: OwnCheckpoint, *, num_classes: int | None, options: Mapping[str, Any] | None
) -> LoadedModel:
    """The network of a file that videonl wrote."""
    classes = own.config["num_classes"] if num_classes is None else num_classes
    report = LoadReport(str(path), "videonl", skipped=list(own.skipped))
    wanted = Wanted(own.config["name"], classes, {**own.config["options"], **(options or {})})
    skeleton = wanted.skeleton(report, tensors=len(own.tensors))
    tensors = own.tensors
    heads: list[str] = []  # of another number of classes
    if classes != own.config["num_classes"]:
        wanted_by = skeleton.state_dict()
        other = [k for k in tensors if k in wanted_by and tensors[k].shape != wanted_by[k].shape]
        heads = sorted({key.rpartition(".")[0] for key in other})
        tensors = without_heads(tensors, heads, "classifier for other classes", report)
    model = wanted.filled(
        skeleton,
        tensors,
        report,
        fresh=[f"{head}." for head in heads],
        about=own_difference(path, wanted),
    )
    made_for: Any = model.preprocessing
    clips = preprocessing_in_file(own.preprocessing, path, made_for=made_for).to_dict()
    model.preprocessing = clips  # type: ignore[assignment]
    return LoadedModel(
        model,
        own.class_names if classes == own.config["num_classes"] else None,
        dict(clips),
        {"file": path.name, **own.provenance},
        report,
        multi_label=own.multi_label,
    )


def check_network(path: Path, own: OwnCheckpoint) -> None:
    """Compare the network that such a file declares with its tensors, without making it.

    Raises:
        CheckpointError: it cannot be made, or the tensors belong to another network.
    """
    report = LoadReport(str(path), "videonl")
    config = own.config
    wanted = Wanted(config["name"], config["num_classes"], config["options"])
    skeleton = wanted.skeleton(report, tensors=len(own.tensors))
    check_fit(skeleton, own.tensors, report, about=own_difference(path, wanted))


def own_difference(path: Path, wanted: Wanted) -> str:
    """The message if a file's tensors are not those of the network that it declares."""
    options = [
        f"{key} {value}"
        for key, value in wanted.options.items()
        if isinstance(value, (int, str, list)) and len(str(value)) < 80
    ]
    said = ", ".join([f"num_classes {wanted.num_classes}", *options])
    return f"{path} does not contain the network that it declares, {wanted.name} with {said}"


def checked_names(names: Sequence[str], model: nn.Module) -> list[str]:
    """The names as a list, after their number was compared with the network's.

    Raises:
        CheckpointError: another number of names than of logits.
    """
    wanted = dict(getattr(model, "config", {})).get("num_classes")
    if wanted is not None and len(names) != wanted:
        raise CheckpointError(
            f"the network has {counted(wanted, 'class')}, but {counted(len(names), 'class name')} "
            "came; give one per class"
        )
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
        CheckpointError: another suffix, no such folder, or not a regular file.
        OutputError: it cannot be written there.
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
    if is_stream(path):
        raise CheckpointError(
            f"{path} is not a regular file; give a file name, since weights are read back"
        )
    compact = json_text(about, sort_keys=True)
    beside = sidecar_path(path)
    if beside.exists() and not path.exists():
        raise CheckpointError(
            f"{beside}, where the description of the weights is written, is there already; "
            "give the weights another name, or remove it"
        )
    with whole_file(path) as part:  # both files or none
        write_safetensors(part, loaded.model.state_dict(), {"videonl": compact})
        write_text(beside, json_text(about, indent=2) + "\n")
    return beside


def convert(
    source: str | Path,
    target: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    labels: str | Path | None = None,
    num_classes: int | None = None,
    network: str | None = None,
) -> tuple[LoadReport, Path, str]:
    """Write ``target`` (``.safetensors``) and its sidecar, and read them back.

    The arguments are those of ``load_checkpoint``, and ``labels``: a file of class names, by
    default those that the source has.

    Returns:
        (report of the loading, path of the sidecar, licence of the weights).

    Raises:
        CheckpointError: the source cannot be loaded, or the target cannot be written.
    """
    path, target = local_file(source), Path(target)
    if target.exists() and target.samefile(path):
        raise CheckpointError(f"{target} is the source itself; give another name")
    names = None if labels is None else read_class_names(labels)
    loaded = load_checkpoint(
        path, options=options, num_classes=num_classes, class_names=names, network=network
    )
    published = next((entry for entry in PUBLISHED if entry.file == path.name), None)
    provenance: dict[str, Any] = {"sha256": sha256(path)}
    licence = loaded.provenance.get("licence", "not stated in the file")
    if published is not None and published.family == loaded.provenance.get("family"):
        licence = published.licence
        provenance |= {"url": published.url, "published_as": published.name}
    sidecar = save_checkpoint(loaded, target, provenance={**provenance, "licence": licence})
    again = load_checkpoint(target, network=network)
    first, second = loaded.model.state_dict(), again.model.state_dict()
    if first.keys() != second.keys() or not all(torch.equal(first[k], second[k]) for k in first):
        raise CheckpointError(f"{target} differs from what was written; is the disk full?")
    return loaded.report, sidecar, licence
