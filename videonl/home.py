"""The user's home folder, which not every user has: a container's user id often has no name."""

import os
from pathlib import Path

from videonl.errors import VideoNLError


def user_cache() -> Path | None:
    """``videonl`` in the user's cache folder; None for a user without a home folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "videonl"
    except RuntimeError:  # HOME is not set, and the user's id has no entry of its own
        return None


def cache_folder() -> Path | None:
    """The folder for what can be made again: ``$VIDEONL_CACHE``, else as ``user_cache``."""
    named = os.environ.get("VIDEONL_CACHE")
    return Path(named) if named else user_cache()


def expanded(path: str | Path) -> Path:
    """A path whose ``~`` is the home folder.

    Raises:
        VideoNLError: it begins with one, and there is no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise VideoNLError(
            f"{path}: there is no such home folder; write the full path or set HOME"
        ) from None
