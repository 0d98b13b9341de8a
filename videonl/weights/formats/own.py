"""Our own formats: Lightning ``.ckpt`` files and safetensors with a JSON sidecar.

A ``.ckpt`` names its network in ``hyper_parameters``: ``name``, ``options``, ``class_names``,
``preprocessing``; its ``state_dict`` has the prefix ``net.`` and holds the averaged weights if they
were averaged. The sidecar of ``model.safetensors`` is ``model.json``; a copy inside the file is
used if the sidecar is missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from videonl.errors import CheckpointError
from videonl.escapes import parse_json
from videonl.limits import shown
from videonl.weights.declared import (
    MAX_CLASSES,
    check_names,
    check_options,
    check_preprocessing,
    check_values,
    name_in_file,
    options_in_file,
    refuse,
)
from videonl.weights.run_folder import sidecar_path
from videonl.weights.safe import Content
from videonl.weights.tables import check_claims, common_prefix, strip_wrappers

PREFIX = "net."
FORMAT = "videonl"
MAX_NAME = 500
LARGEST = 2.0**63  # of a number of steps
MAX_SIDECAR = 2 * 1024 * 1024  # bytes; 1000 classes take 30,000


@dataclass
class OwnCheckpoint:
    """A network of ours, as its file describes it.

    Attributes:
        tensors: by the network's keys.
        config: name, num_classes and options of ``create_model``.
        class_names: in the order of the logits, or None.
        preprocessing: the clips that the network was made for.
        provenance: where the weights come from.
        skipped: what else is in the file.
        multi_label: a video may have several of the classes.
    """

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    class_names: list[str] | None
    preprocessing: dict[str, Any]
    provenance: dict[str, Any]
    skipped: list[str] = field(default_factory=list)
    multi_label: bool = False


def read_own(content: Content, *, network: str | None = None) -> OwnCheckpoint | None:
    """The description, or None if the file was not written by videonl.

    Args:
        content: of the file.
        network: the name of its network as given by the user, see ``name_in_file``.

    Raises:
        CheckpointError: it is ours, but damaged, imports code, or declares impossible values;
            names the entry.
    """
    if content.kind == "torch" and isinstance(content.data, Mapping):
        about = content.data.get("hyper_parameters")
        if isinstance(about, Mapping) and "videonl_version" in about:
            found = from_lightning(content.path, content.data, about, network=network)
            return checked_own(content.path, found)
    if content.kind == "safetensors":
        sidecar = read_sidecar(content.path, content.metadata)
        if sidecar is not None:
            found = from_sidecar(content.path, content.data, sidecar, network=network)
            return checked_own(content.path, found)
    return None


def checked_own(path: Path, own: OwnCheckpoint) -> OwnCheckpoint:
    """Compare the values of a description with their limits.

    Raises:
        CheckpointError: names the file, the entry, its value and the limit.
    """
    check_claims(own.tensors, path)
    check_options(own.config["options"], tensors=len(own.tensors), source=path)
    check_preprocessing(own.preprocessing, path)
    check_values(own.provenance, "provenance", path, largest=LARGEST)
    own.class_names = check_names(own.class_names, own.config["num_classes"], path)
    return own


def from_lightning(
    path: Path, data: Mapping[str, Any], about: Mapping[str, Any], *, network: str | None = None
) -> OwnCheckpoint:
    """Read a Lightning checkpoint."""
    state = data.get("state_dict")
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"{path} has no state_dict; perhaps the training was stopped while it was saving"
        )
    tensors, skipped = {}, []
    for key, value in state.items():
        if not isinstance(key, str):
            refuse(path, "a key of its state_dict", key, "a name")
        if key.startswith(PREFIX) and isinstance(value, Tensor):
            tensors[key.removeprefix(PREFIX)] = value
        else:
            skipped.append(f"{key[:200]} (not of the network)")
    tensors, beside = without_wrappers(tensors)
    config = {
        "name": about.get("name"),
        "num_classes": about.get("num_classes"),
        "options": about.get("options"),
    }
    names = about.get("class_names")
    if config["num_classes"] is None and isinstance(names, (list, tuple)):
        config["num_classes"] = len(names)
    provenance = {
        "format": "lightning checkpoint",
        "videonl_version": about["videonl_version"],
        "epoch": data.get("epoch"),
        "global_step": data.get("global_step"),
        "averaged": "averaging_state" in data,
    }
    for extra in ("pretrained", "provenance", "licence", "data_split", "trained_videos"):
        if about.get(extra) is not None:
            provenance[extra] = about[extra]
    return OwnCheckpoint(
        tensors,
        checked_config(path, config, network=network),
        names,
        table(path, about, "preprocessing"),
        provenance,
        skipped + beside,
        multi_label=bool(about.get("multi_label")),
    )


def read_sidecar(path: Path, metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """The description beside, or else inside, a safetensors file; None if there is none.

    Raises:
        CheckpointError: a sidecar that is not a JSON object.
    """
    beside = sidecar_path(path)
    if beside.is_file() and beside.stat().st_size > MAX_SIDECAR:
        raise CheckpointError(
            f"{beside} has {beside.stat().st_size} bytes; a sidecar has at most {MAX_SIDECAR}"
        )
    try:
        text = None
        if beside.is_file():
            text = beside.read_text(encoding="utf-8")
        elif FORMAT in metadata:
            text = metadata[FORMAT]
        found = parse_json(text) if text is not None else None
    except (ValueError, OSError) as error:
        reason = str(error).partition(";")[0]
        raise CheckpointError(
            f"{beside} is not JSON ({reason}); convert the weights again"
        ) from None
    if found is None:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("model"), dict):
        raise CheckpointError(f"{beside} does not name its network; convert the weights again")
    return found


def from_sidecar(
    path: Path,
    tensors: dict[str, Tensor],
    sidecar: dict[str, Any],
    *,
    network: str | None = None,
) -> OwnCheckpoint:
    """Read a converted checkpoint."""
    tensors, beside = without_wrappers(tensors)
    return OwnCheckpoint(
        tensors,
        checked_config(path, sidecar["model"], network=network),
        sidecar.get("class_names"),
        table(path, sidecar, "preprocessing"),
        table(path, sidecar, "provenance"),
        beside,
        multi_label=bool(sidecar.get("multi_label")),
    )


def without_wrappers(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """(tensors by the network's keys, what was left out); our own keys have no such prefix."""
    found, _, skipped = strip_wrappers(tensors, lambda here: common_prefix(list(here)) is None)
    return found, skipped


def table(path: Path, about: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A table in a description; empty if it is missing.

    Raises:
        CheckpointError: anything but a table.
    """
    found = about.get(key)
    if found is not None and not isinstance(found, Mapping):
        refuse(path, key, found, "a table")
    return dict(found or {})


def checked_config(
    path: Path, config: Mapping[str, Any], *, network: str | None = None
) -> dict[str, Any]:
    """name, num_classes and options, of the right types.

    Raises:
        CheckpointError: one is missing, or the name would import code.
    """
    name, classes = config.get("name"), config.get("num_classes")
    if not isinstance(name, str) or type(classes) is not int or classes < 1:
        raise CheckpointError(
            f"{path} does not name its network and its classes (name is {shown(name)}, "
            f"num_classes is {shown(classes)})"
        )
    if len(name) > MAX_NAME:
        refuse(path, "the name of its network", name, f"of at most {MAX_NAME} characters")
    if classes > MAX_CLASSES:
        refuse(path, "num_classes", classes, f"at most {MAX_CLASSES}")
    return {
        "name": name_in_file(name, source=path, said=network),
        "num_classes": classes,
        "options": options_in_file(config.get("options"), source=path),
    }
