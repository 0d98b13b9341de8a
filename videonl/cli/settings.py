"""Settings from a YAML file and from ``--section.key value``, with errors that a person can use.

jsonargparse checks types and fills defaults, off the signatures of what is built. Reading the
command line and the file is done here: it accepts abbreviated flags, and its messages speak of
parsers and groups.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from videonl.errors import VideoNLError
from videonl.home import expanded
from videonl.yaml_loader import Loader

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

VIEWS = re.compile(r"(\d+)[x×](\d+)")


def parse_value(text: str) -> Any:
    """A value of the command line: number, true, false, null, a list, a table, or text.

    Example:
        >>> parse_value("1e-4"), parse_value("[1, 2]"), parse_value("10x3")
        (0.0001, [1, 2], [10, 3])
    """
    match = VIEWS.fullmatch(text)
    if match:
        return [int(match[1]), int(match[2])]
    try:
        value = yaml.load(text, Loader)
    except yaml.YAMLError:
        return text
    # Text such as "a: b" is a table in YAML; on a command line only {...} is meant as one.
    return text if isinstance(value, dict) and not text.lstrip().startswith("{") else value


def read_flags(argv: Sequence[str]) -> list[tuple[str, Any]]:
    """``--key value``, ``--key=value`` and ``--switch`` as pairs, in their order.

    Raises:
        VideoNLError: an argument that belongs to no flag.
    """
    pairs: list[tuple[str, Any]] = []
    rest = list(argv)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--") or flag == "--":
            raise VideoNLError(f"{flag!r} belongs to no option; options are written --key value")
        key, equals, text = flag[2:].partition("=")
        if equals:
            pairs.append((key, parse_value(text)))
        elif rest and not is_flag(rest[0]):
            pairs.append((key, parse_value(rest.pop(0))))
        else:
            pairs.append((key, True))
    return pairs


def is_flag(text: str) -> bool:
    """Whether an argument is an option, and not a value such as -1."""
    return text.startswith("--") and len(text) > 2


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A configuration file.

    Raises:
        VideoNLError: missing, not YAML, or not a table.
    """
    file = expanded(path)
    if not file.is_file():
        near = get_close_matches(file.name, [p.name for p in file.parent.glob("*.yaml")], n=1)
        hint = f"; did you mean {file.parent / near[0]}?" if near else ""
        raise VideoNLError(f"--config {path}: there is no such file{hint}")
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise VideoNLError(f"{path} is not YAML: a mistake{where}") from error
    if not isinstance(content, dict):
        raise VideoNLError(f"{path} holds no settings; it should have lines such as model:, data:")
    return content


def flatten(content: Mapping[str, Any], known: Sequence[str], prefix: str = "") -> Iterator[Any]:
    """A nested table as (dotted key, value); a known key's value stays whole."""
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key not in known:
            yield from flatten(value, known, f"{key}.")
        elif value is not None or key in known:
            yield key, value


def check_key(key: str, known: Sequence[str], *, source: str) -> None:
    """Refuse an unknown key with the nearest ones.

    Raises:
        VideoNLError: names the key, where it stands, and the near match.
    """
    if key in known or table_of(key, known):
        return
    shown = f"--{key}" if source == "" else f"{source}: {key!r}"
    section, _, leaf = key.rpartition(".")
    same = [k for k in known if k.rpartition(".")[0] == section]
    elsewhere = [k for k in known if k.rpartition(".")[2] == leaf]
    near = elsewhere[:2] or [
        f"{section}.{n}" if section else n
        for n in get_close_matches(leaf, [k.rpartition(".")[2] for k in same], n=2, cutoff=0.5)
    ]
    near = near or get_close_matches(key, known, n=2, cutoff=0.5)
    hint = " or ".join(f"--{k}" if source == "" else k for k in near)
    tail = f"; did you mean {hint}?" if near else "; --help_all lists all"
    raise VideoNLError(f"{shown} is no option{tail}")


def table_of(key: str, known: Sequence[str]) -> str | None:
    """``model.options`` for ``model.options.depth``: the option that is a table."""
    head, _, tail = key.rpartition(".")
    return head if tail and head in known and head.endswith("options") else None


def merge(pairs: Sequence[tuple[str, Any]], known: Sequence[str]) -> dict[str, Any]:
    """Flat settings, later ones win; ``model.options.depth`` goes into its table."""
    merged: dict[str, Any] = {}
    for key, value in pairs:
        table = table_of(key, known)
        if table is None:
            merged[key] = value
        else:
            merged[table] = {**(merged.get(table) or {}), key.rpartition(".")[2]: value}
    return merged


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"model.name": "x"} -> {"model": {"name": "x"}}."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, leaf = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[leaf] = value
    return nested


def check_types(parser: "ArgumentParser", flat: Mapping[str, Any]) -> dict[str, Any]:
    """All settings with their defaults, nested by section.

    Raises:
        VideoNLError: a value of the wrong type.
    """
    from argparse import ArgumentError

    try:
        return parser.parse_object(nest(flat)).as_dict()
    except (ArgumentError, ValueError, TypeError) as error:
        text = " ".join(str(error).split())
        match = re.search(r'Parser key "([^"]+)": (.*)', text)
        if match is None:
            raise VideoNLError(text) from error
        value = flat.get(match[1])
        wanted = re.findall(r"Expected an? (.+?)\. Got value", match[2])
        choices = re.findall(r"'([^']+)'", wanted[0]) if wanted and "Literal" in wanted[0] else []
        kinds = choices or [w.replace("<class '", "").replace("'>", "") for w in wanted]
        reason = f"it must be {' or '.join(dict.fromkeys(kinds))}" if kinds else match[2]
        raise VideoNLError(f"--{match[1]} {value!r}: {reason}") from error
