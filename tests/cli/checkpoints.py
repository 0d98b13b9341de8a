"""Checkpoints of ours that are changed as a stranger, or a broken training, would leave them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.inference.networks import NAMES, PREPROCESSING
from videonl import __version__
from videonl.models import create_model

NETWORK = "tiny_i3d_nl1"
Change = Callable[[dict[str, Any]], object]


def write_ckpt(path: Path, change: Change = lambda _: None, *, network: str = NETWORK) -> Path:
    """A ``.ckpt`` of a tiny network with a non-local block and three classes.

    Args:
        path: of the file.
        change: gets its content before it is written.
        network: who made it; ``hyper_parameters.name`` says so.
    """
    torch.manual_seed(0)
    net = create_model(network, num_classes=3, width=8).eval()
    net.head.projection.weight.data.mul_(10)
    content: dict[str, Any] = {
        "state_dict": {f"net.{key}": value for key, value in net.state_dict().items()},
        "hyper_parameters": {
            "name": network,
            "num_classes": 3,
            "class_names": NAMES,
            "options": {"width": 8},
            "preprocessing": dict(PREPROCESSING),
            "recipe": {},
            "class_weights": None,
            "multi_label": False,
            "views_per_forward": 16,
            "channels_last": True,
            "fresh": [],
            "provenance": None,
            "licence": None,
            "videonl_version": __version__,
        },
        "optimizer_states": [],
        "epoch": 0,
        "global_step": 1,
    }
    change(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path
