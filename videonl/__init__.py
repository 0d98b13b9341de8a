"""videonl: video classification with non-local neural networks (Wang et al., CVPR 2018).

The names below are imported on first use, so that ``import videonl`` is instant and
``import videonl.layers`` needs nothing but torch.
"""

from importlib import import_module

from videonl._version import __version__

_EXPORTS = {
    "NonLocalBlock": "videonl.layers",
    "insert_non_local": "videonl.layers",
    "remove_non_local": "videonl.layers",
    "create_model": "videonl.models",
    "list_models": "videonl.models",
    "register_model": "videonl.models",
    "count_cost": "videonl.evaluation.cost",
    "compare_models": "videonl.evaluation.compare",
    "VideoClassifier": "videonl.training",
    "VideoDataModule": "videonl.data.datamodule",
    "Predictor": "videonl.inference.predictor",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> object:
    """Import a public name from its room on first use (PEP 562)."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'videonl' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
