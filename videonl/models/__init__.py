"""Networks by name: the paper's ResNets with non-local blocks, and plain baselines.

A new network is a module in this folder with ``@register_model`` and one import line here.
"""

from videonl.models import baselines, paper  # noqa: F401 - they register their networks
from videonl.models.norms import Affine3d, FrozenBatchNorm3d, fuse_for_inference
from videonl.models.registry import create_model, list_models, model_options, register_model
from videonl.models.resnet3d import ResNet3D
from videonl.models.view_ensembling import average_logits, over_views, probabilities_of

__all__ = [
    "Affine3d",
    "FrozenBatchNorm3d",
    "ResNet3D",
    "average_logits",
    "create_model",
    "fuse_for_inference",
    "list_models",
    "model_options",
    "over_views",
    "probabilities_of",
    "register_model",
]
