"""From any checkpoint to safetensors and a JSON sidecar, compared tensor by tensor afterwards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from videonl.class_names import read_class_names
from videonl.errors import CheckpointError
from videonl.models.checkpoint import load_checkpoint, save_checkpoint, sha256
from videonl.models.pretrained.published import PUBLISHED, local_file
from videonl.models.pretrained.report import LoadReport


def convert(
    source: str | Path,
    target: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    labels: str | Path | None = None,
    num_classes: int | None = None,
    network: str | None = None,
) -> tuple[LoadReport, Path, str]:
    """Write ``target`` and its sidecar, and read them back.

    Args:
        source: a checkpoint file, or the name of published weights.
        target: a path that ends with ``.safetensors``.
        options: see ``load_checkpoint``.
        labels: a file of class names; by default those that the source has.
        num_classes: see ``load_checkpoint``.
        network: see ``load_checkpoint``.

    Returns:
        (report of the loading, path of the sidecar, licence of the weights).

    Raises:
        CheckpointError: the source can not be loaded, or the target not be written.
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
        raise CheckpointError(f"{target} does not read back as it was written; is the disk full?")
    return loaded.report, sidecar, licence
