"""Names for the logits: Kinetics-400, or a file of the user's."""

import json
from functools import cache
from pathlib import Path

from videonl.errors import CheckpointError

MAX_LABEL_FILE = 16 * 1024 * 1024


@cache
def _kinetics400() -> tuple[str, ...]:
    from torchvision.models.video import R3D_18_Weights

    return tuple(R3D_18_Weights.DEFAULT.meta["categories"])


def kinetics400() -> list[str]:
    """The 400 names, sorted, which is the order of every published network's logits.

    They come with torchvision's weights metadata; nothing is fetched.
    """
    return list(_kinetics400())


def read_labels(path: str | Path) -> list[str]:
    """The names of a label file, in the order of the logits.

    Args:
        path: one name per line, or JSON: a list of names, or a table from name to index (the
            ``classids.json`` of video-nonlocal-net, whose names hold quotes that are removed).

    Raises:
        CheckpointError: no such file, no names, a name twice, or indices with gaps.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_LABEL_FILE:
            raise CheckpointError(f"{path} is too large for a list of class names")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CheckpointError(f"labels {path} can not be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"labels {path} is no UTF-8 text") from None
    names = from_json(text, path) if text.lstrip()[:1] in ("[", "{") else text.splitlines()
    names = [name.strip().strip('"') for name in names]
    names = [name for name in names if name]
    doubles = sorted({name for name in names if names.count(name) > 1}) if names else []
    if not names or doubles:
        problem = f"names {', '.join(doubles[:5])} twice" if doubles else "holds no names"
        raise CheckpointError(f"labels {path} {problem}; one name per line is expected")
    return names


def from_json(text: str, path: Path) -> list[str]:
    """Names of a JSON list or of a table from name to index.

    Raises:
        CheckpointError: anything else.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"labels {path} is no JSON ({error})") from None
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return found
    if isinstance(found, dict) and sorted(map(str, found.values())) == sorted(
        map(str, range(len(found)))
    ):
        return sorted(found, key=lambda name: int(found[name]))
    raise CheckpointError(f"labels {path} must be a list of names or a table name -> 0, 1, 2, …")
