"""The doors of a room: its public names, each imported on first use (PEP 562).

A room's ``__init__`` says where its names live, and stays free to import: ``videonl.video`` needs
no torch before a name is asked for that does.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def doors(
    room: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a room.

    Args:
        room: the package's ``__name__``.
        names: module of the room -> its public names, separated by spaces.

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
