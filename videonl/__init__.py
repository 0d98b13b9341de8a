"""videonl: video classification with non-local neural networks (Wang et al., CVPR 2018).

The names below are imported on first use, so that ``import videonl`` is instant and
``import videonl.layers`` needs nothing but torch.
"""

from videonl._version import __version__
from videonl.doors import doors

__getattr__, __dir__, _public = doors(
    __name__,
    {
        "layers": "NonLocalBlock insert_non_local remove_non_local",
        "models": "create_model list_models register_model",
        "evaluation": "count_cost compare_models",
        "training": "VideoClassifier",
        "data": "VideoDataModule",
        "inference": "Predictor",
        "video": "Frames",
    },
)
__all__ = ["__version__", *_public]
