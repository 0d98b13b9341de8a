"""videonl: video classification with non-local neural networks (Wang et al., CVPR 2018).

The names below are imported on first use, so that ``import videonl`` is instant and
``import videonl.layers`` needs nothing but torch.

So it is with every room: its ``__init__`` lists which module defines which public name ("doors").
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def doors(
    room: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make ``__getattr__``, ``__dir__`` and ``__all__`` of a room: lazy names (PEP 562).

    Importing the room costs nothing: ``videonl.video`` imports torch only when a name that needs it
    is used.

    Args:
        room: the package's ``__name__``.
        names: module of the package -> its public names, separated by spaces.

    Example:
        >>> getter, _, public = doors("videonl.video", {"video": "Video open_video"})
        >>> public
        ['Video', 'open_video']
    """
    homes = {name: f"{room}.{module}" for module, text in names.items() for name in text.split()}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    public = sorted(homes)
    return find, lambda: public, public


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
