"""Lazy public names of a package: each is imported on first use (PEP 562).

The ``__init__`` of a package ("room") lists which module defines which name, so importing it costs
nothing: ``videonl.video`` imports torch only when a name that needs it is used.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def doors(
    room: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make ``__getattr__``, ``__dir__`` and ``__all__`` of a package.

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
