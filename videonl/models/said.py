"""What a file may say of its network: the name of a registered one, and that network's options.

A name such as ``package.module:function`` imports code. It is taken from a person's own words (the
command line, a ``--config`` that it names, an argument in Python), never from a file: neither out
of a checkpoint nor out of the configuration that a run's folder keeps. Everything that reads the
name of a network in a file asks here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videonl.errors import CheckpointError
from videonl.models.registry import is_import_path

# Arguments of ``create_model`` that are no options of a network.
OURS = frozenset({"name", "num_classes", "pretrained"})


def name_in_file(name: object, *, source: str | Path, said: str | None = None) -> str:
    """The name of a network as a file says it; one that imports code only where a person says it.

    Args:
        name: what the file holds.
        source: the file, for the message.
        said: the name in the person's own words; None: nothing was said.

    Raises:
        CheckpointError: no text; or a name that imports code and that nobody else has said.
    """
    if not isinstance(name, str):
        raise CheckpointError(f"{source} does not name its network (name={name!r})")
    if is_import_path(name) and said != name:
        shown = name if len(name) <= 200 else f"{name[:200]}..."
        raise CheckpointError(
            f"{source} asks for the network {shown!r}, which is outside of videonl, and a file is "
            f"never allowed to import code: if you trust that code, say --model.name {shown} "
            "yourself (in Python: network=)"
        )
    return name


def options_in_file(options: object, *, source: str | Path) -> dict[str, Any]:
    """The options of a network as a file says them; none where it says nothing.

    Raises:
        CheckpointError: no table, or one that holds more than options: a file names no other file.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise CheckpointError(f"{source}: the options of its network are no table")
    strange = sorted(key for key in map(str, options) if key in OURS)
    if strange:
        raise CheckpointError(f"{source}: {strange[0]!r} is no option of a network")
    return {str(key): value for key, value in options.items()}
