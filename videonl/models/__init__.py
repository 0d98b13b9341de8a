"""Networks by name: the paper's ResNets with non-local blocks, and plain baselines.

A new network is a module in this folder with ``@register_model`` and one import line here.
"""

from videonl.models import baselines, paper
from videonl.models import paper as tiny
from videonl.models.registry import create_model, list_models, model_options, register_model
from videonl.models.resnet3d import ResNet3D

__all__ = [
    "ResNet3D",
    "baselines",
    "create_model",
    "list_models",
    "model_options",
    "paper",
    "register_model",
    "tiny",
]
