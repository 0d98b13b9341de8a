"""A sweep file: the settings of a comparison in YAML, for one or several scales.

entries:                       # row name: network, checkpoint, or a network with options
  plain: tiny_i3d
  non-local: {model: tiny_i3d_nl1, options: {non_local_options: {affinity: dot_product}}}
  long: {model: i3d_r50, pretrained: official/i3d_32x2}  # what its training starts from
data: data/sample/videos
views: 1x1
train: {epochs: 14, seeds: 3, batch_size: 16, recipe: {learning_rate: 0.01}}
scales:                        # --scale large: what differs there
  large:
    entries: {plain: i3d_r50, non-local: i3d_r50_nl5}
    data: kinetics400
base: common.yaml              # a file beside it: what several sweeps share, at each scale too
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from typing import Any

from videonl.errors import VideoNLError
from videonl.evaluation.entry import Entry
from videonl.evaluation.trained_rows import Budget
from videonl.files import read_yaml
from videonl.limits import Limit, check_limits, whole
from videonl.weights.declared import options_in_file

SETTINGS = (
    *("data", "split", "group", "views", "clip", "num_classes"),
    *("rounds", "batch_size", "device", "equal_cost"),
)
OF_A_SCALE = ("entries", *SETTINGS, "train")
OF_A_BASE = (*OF_A_SCALE, "scales")
KEYS = ("base", *OF_A_BASE)
ENTRY_KEYS = ("model", "checkpoint", "options", "pretrained")
TEXTS = ("data", "split", "group", "device", "clip", "views")
LIMITS = {
    "num_classes": whole(1, 10_000_000),
    "rounds": whole(0),
    "batch_size": whole(1),
    "clip": Limit(1, 9999, integral=True, length=2),
    "views": Limit(1, 1000, integral=True, length=2),
}


@dataclass(frozen=True)
class Sweep:
    """The content of a sweep file at one scale.

    Attributes:
        entries: what to compare.
        settings: of ``SETTINGS``, as written.
        train: values of ``Budget``; None if nothing is trained.
    """

    entries: list[Entry]
    settings: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] | None = None


def read_sweep(path: str | Path, *, scale: str | None = None) -> Sweep:
    """Read a sweep file.

    Args:
        path: the YAML file. What it says wins over its base, and a scale over what stands above.
        scale: one of its ``scales``, not one that its base alone has; None: the file as it stands.
            Entries of a scale stand in the place of the file's, so that no network of one scale
            gets among those of another.

    Raises:
        VideoNLError: no such file, base or scale, no YAML, an unknown key (with the nearest known
            one).
    """
    content, scales = _halves(Path(path), KEYS)
    file = _base(path, content.pop("base", None))
    base, scales_of_base = _halves(file, OF_A_BASE) if file else ({}, {})
    layers = [base, content]
    if scale is not None:
        if scale not in scales:
            known = f"it has {', '.join(scales)}" if scales else "it has none"
            raise VideoNLError(f"{path} has no scale {scale!r}; {known}")
        layers += [scales_of_base.get(scale, {}), scales[scale]]
    content = reduce(_merged, layers)
    entries = _table(content.pop("entries", {}), source=f"{path}: entries")
    if not entries:
        raise VideoNLError(f"{path} has no entries; it needs entries: {{name: network, ...}}")
    train = content.pop("train", None)
    if train is not None:
        if "options" in train:
            train["options"] = options_in_file(train["options"], source=f"{path}: train")
        train = {key: value for key, value in train.items() if value is not None}
        if "seeds" in train:
            train["seeds"] = _seeds(train["seeds"], source=f"{path}: train: seeds")
    return Sweep(
        [_entry(str(name), value, source=str(path)) for name, value in entries.items()],
        content,
        train,
    )


def _halves(path: Path, known: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what a file says, what it says of each scale)."""
    content = _checked(read_yaml(path), known, source=str(path))
    scales = _table(content.pop("scales", {}), source=f"{path}: scales")
    checked = {
        str(name): _checked(value, OF_A_SCALE, source=f"{path}: scales: {name}")
        for name, value in scales.items()
    }
    return content, checked


def _checked(value: object, known: Iterable[str], *, source: str) -> dict[str, Any]:
    """What one file says, for all scales or for one; its entries are looked at when merged."""
    table = _table(value, source=source)
    _check(table, known, source=source)
    if table.get("train") is not None:
        names = [item.name for item in fields(Budget) if item.name != "instantiate"]
        _check(_table(table["train"], source=f"{source}: train"), names, source=f"{source}: train")
    _check_settings({key: table[key] for key in SETTINGS if key in table}, source=source)
    return table


def _base(path: str | Path, name: object) -> Path | None:
    """The file that a sweep names as its base: in the sweep's own folder, and nowhere else."""
    if name is None:
        return None
    file = Path(path).parent / str(name)
    if not isinstance(name, str) or Path(name).name != name or not os.path.isfile(file):
        raise VideoNLError(
            f"{path}: base must name a file in the same folder, got {str(name)[:80]!r}"
        )
    return file


def _seeds(given: Any, *, source: str) -> tuple[Any, ...]:
    """Seeds from a number of them (0, 1, ...) or from a list."""
    if not whole(1, 1000).allows(given) and not isinstance(given, list):
        raise VideoNLError(f"{source}: it must be a number of seeds, or a list of them")
    return tuple(given if isinstance(given, list) else range(given))


def _check_settings(content: Mapping[str, Any], *, source: str) -> None:
    """Refuse values that the same option of the command line does not take."""
    for key, value in content.items():
        if value is None or (key in TEXTS and isinstance(value, str)):
            continue  # the command reads a text as it reads its own option
        if key in LIMITS:
            check_limits({f"{source}: {key}": LIMITS[key]}, {f"{source}: {key}": value})
        elif not isinstance(value, bool) or key in TEXTS:
            wanted = "text" if key in TEXTS else "true or false"
            raise VideoNLError(f"{source}: {key} must be {wanted}, got {str(value)[:80]!r}")


def _entry(name: str, value: object, *, source: str) -> Entry:
    """One entry: a word, or a table with a model, a checkpoint, or a checkpoint and its network."""
    if isinstance(value, str):
        return Entry(value, name)
    table = _table(value, source=f"{source}: {name}")
    _check(table, ENTRY_KEYS, source=f"{source}: {name}")
    target = table.get("checkpoint") or table.get("model")
    if not isinstance(target, str) or not isinstance(table.get("model", ""), str):
        raise VideoNLError(f"{source}: {name} needs a model or a checkpoint")
    options = options_in_file(table.get("options"), source=f"{source}: {name}")
    network = table.get("model") if table.get("checkpoint") else None
    pretrained = table.get("pretrained")
    if pretrained is not None and (not isinstance(pretrained, str) or table.get("checkpoint")):
        raise VideoNLError(
            f"{source}: {name}: pretrained names the weights that the training of a model starts "
            f"from, got {pretrained!r}"
        )
    return Entry(target, name, options, network=network, pretrained=pretrained)


def _table(value: object, *, source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise VideoNLError(f"{source} must be a table of names and values, got {value!r}")
    return dict(value)


def _check(table: Mapping[str, Any], known: Iterable[str], *, source: str) -> None:
    """Refuse unknown keys."""
    names = list(known)
    for key in table:
        if key not in names:
            near = get_close_matches(str(key), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(names)}"
            raise VideoNLError(f"{source}: {key!r} is unknown; {hint}")


def _merged(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``other``, table by table; entries are replaced as a whole."""
    merged = dict(base)
    for key, value in other.items():
        below = merged.get(key)
        if key != "entries" and isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged
