"""Tiny networks and checkpoints that the tests of inference and evaluation classify with."""

from pathlib import Path

import torch

from videonl.models import create_model
from videonl.weights import LoadedModel, save_checkpoint

PREPROCESSING = {
    "frames": 4,
    "stride": 2,
    "short_side": 24,
    "crop": 16,
    "mean": [0.45, 0.45, 0.45],
    "std": [0.225, 0.225, 0.225],
}
NAMES = ["clap", "jump", "wave"]


def write_checkpoint(
    folder: Path,
    *,
    name: str = "tiny_i3d",
    class_names: list[str] | None = NAMES,
    num_classes: int = 3,
    seed: int = 0,
    file: str = "model.safetensors",
) -> Path:
    """A checkpoint of a small network with random weights that prefers no class."""
    torch.manual_seed(seed)
    model = create_model(name, num_classes=num_classes, width=8)
    torch.nn.init.normal_(model.head.projection.weight, std=2.0)
    path = folder / file
    save_checkpoint(LoadedModel(model.eval(), class_names, dict(PREPROCESSING)), path)
    return path
