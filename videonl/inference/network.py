"""Prepare a network for inference: fused, in the memory layout of its clips, on its device."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videonl.errors import VideoNLError
from videonl.files import sha256
from videonl.limits import usable_cores
from videonl.models.norms import fuse_for_inference
from videonl.video.preprocessing import Preprocessing
from videonl.weights.hub import pinned_name

FORWARD_MEMORY = 2**30  # bytes: what the default number of views per forward pass aims at, or
FORWARD_SHARE = 8  # on a GPU this part of its memory: few views would leave it idle
AHEAD_MEMORY = 2**31  # bytes of views that are decoded ahead for a GPU, at most
MOST_AHEAD = 8  # videos
BYTES_PER_INPUT = 64 * 4  # of activations per input value, about, for the networks of the paper


def prepare_network(model: nn.Module, *, device: torch.device, fuse: bool) -> nn.Module:
    """The network in evaluation mode on its device, with weights in ``channels_last_3d``.

    Args:
        model: any network; with ``fuse`` it is copied, else changed in place.
        device: where to compute.
        fuse: fold the norms into the convolutions, see ``fuse_for_inference``.
    """
    network = fuse_for_inference(model) if fuse else model.eval()
    network = network.to(device)
    for parameter in network.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network


def views_that_fit(preprocessing: Preprocessing, *, device: torch.device) -> int:
    """How many views of this size take about ``FORWARD_MEMORY`` in one forward pass."""
    room = FORWARD_MEMORY
    if device.type == "cuda":
        room = max(room, torch.cuda.get_device_properties(device).total_memory // FORWARD_SHARE)
    height, width = preprocessing.rectangle or (preprocessing.short_side,) * 2
    values = 3 * preprocessing.frames * height * width
    return max(1, min(64, room // (values * BYTES_PER_INPUT)))


def videos_ahead(preprocessing: Preprocessing, *, device: torch.device) -> int:
    """How many videos are decoded, each in a thread, while the network computes one.

    On a CPU none: the network has its cores. A GPU takes 30 views of a video in less time than one
    core needs to decode them.
    """
    if device.type == "cpu":
        return 0
    height, width = preprocessing.rectangle or (preprocessing.short_side,) * 2
    size = preprocessing.num_views * 3 * preprocessing.frames * height * width
    return max(1, min(MOST_AHEAD, usable_cores() - 1, AHEAD_MEMORY // size))


def network_name(model: nn.Module) -> str:
    """Its name in the registry, or else that of its class."""
    return str(getattr(model, "config", {}).get("name", type(model).__name__))


def choose_device(device: str | torch.device) -> torch.device:
    """A device by name; ``"auto"``: CUDA, else MPS, else the CPU.

    Raises:
        VideoNLError: no such device on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        if torch.empty(1, device=chosen).is_meta:
            raise RuntimeError("it computes nothing")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise VideoNLError(
            f"device {str(device)!r} cannot be used on this machine; it has "
            f"{', '.join(devices_here())}"
        ) from error
    return chosen


def devices_here() -> list[str]:
    """The devices of this machine that compute, by torch's names."""
    found = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def origin_of(path: str | Path, provenance: Mapping[str, Any]) -> dict[str, object]:
    """Where weights come from: a local file, the hub, or published ones by their name.

    What they were fine-tuned from, and its licence, are included where known.
    """
    known = {
        name: provenance[key]
        for key, name in (
            ("provenance", "trained_from"),
            ("licence", "licence"),
            ("data_split", "data_split"),
        )
        if provenance.get(key)
    }
    if Path(path).is_file():
        name = pinned_name(path) or Path(path).name
        return {"checkpoint": name, "sha256": sha256(path), **known}
    return {"checkpoint": str(path), "sha256": provenance.get("sha256"), **known}
