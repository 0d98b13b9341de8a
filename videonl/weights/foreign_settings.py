"""Settings that another tool wrote into its checkpoint: parsed, never executed, and reported."""

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from videonl.errors import CheckpointError, VideoNLError, first_line
from videonl.limits import Limit, number, shown

MAX_TEXT = 400_000  # characters of a configuration; the largest published has some 10,000

Kind = Callable[[Any], bool]


# What a value may be to be understood; its limits are checked later.
is_whole: Kind = Limit(-math.inf, integral=True).allows
is_number: Kind = Limit(-math.inf).allows
is_share: Kind = number(0, 1).allows
is_colour: Kind = Limit(-math.inf, length=3).allows


def is_flag(value: Any) -> bool:
    """Whether it is true or false."""
    return type(value) is bool


def part(table: Any, name: str) -> Mapping[str, Any]:
    """A table in a table; empty where there is none."""
    found = table.get(name) if isinstance(table, Mapping) else None
    return found if isinstance(found, Mapping) else {}


@dataclass
class Account:
    """Which settings were read, and which were not.

    Attributes:
        read: names of settings.
        left: names of settings that were not understood, each with the option for the same.
    """

    read: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def take(self, table: Any, name: str, kind: Kind, *, option: str) -> Any:
        """A setting; None if it is missing or not understood.

        Args:
            table: the section that contains it; anything else has no settings.
            name: of the setting.
            kind: whether a value can be understood; limits are checked later.
            option: the option for the same setting.
        """
        if not isinstance(table, Mapping) or table.get(name) is None:
            return None
        if not kind(table[name]):
            self.leave(name, table[name], option=option)
            return None
        self.read.append(name)
        return table[name]

    def leave(self, name: str, value: Any, *, option: str) -> None:
        """Note a setting that is not understood."""
        self.left.append(f"{name} ({shown(value)}; --option {option}=...)")

    def notes(self, where: str) -> list[str]:
        """Sentences for the report.

        Args:
            where: the part of the file that they come from.
        """
        found = [f"read from the file's {where}: {', '.join(self.read) or 'nothing'}"]
        if self.left:
            found.append(f"not read from the file's {where}: {', '.join(self.left)}")
        return found


def check_usual(table: Mapping[str, Any], usual: Mapping[str, Any], *, family: str) -> None:
    """Refuse a graph that is not made here: its weights have the same shapes in the usual one.

    Args:
        table: the section that describes the network.
        usual: setting -> the only supported value, of all stages where there is one for each.
        family: for the message.

    Raises:
        CheckpointError: names the setting.
    """
    for name, only in usual.items():
        value = table.get(name)
        if value is not None and any(leaf != only for leaf in _leaves(value)):
            raise CheckpointError(
                f"this {family} checkpoint is of a network with {name}={shown(value)}; supported "
                f"is {only}"
            )


def _leaves(value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        return [value]
    return [leaf for each in value for leaf in _leaves(each)]


def settings_in(
    given: Any, where: str, *, read: Callable[[str], Any]
) -> tuple[dict[str, Any], list[str]]:
    """(the settings of a file as a table, empty where there are none; notes about them).

    Args:
        given: a text, a table, or anything else, which has no settings.
        where: the part of the file that they come from.
        read: of a text; raises VideoNLError where it cannot.
    """
    if isinstance(given, str):
        try:
            given = read(given)
        except VideoNLError as error:
            lost = f"the file's {where} cannot be read, so that it counts as published: {error}"
            return {}, [lost]
    return dict(given) if isinstance(given, Mapping) else {}, []


def python_settings(text: str) -> dict[str, Any]:
    """The assignments of a configuration written in Python, as far as they are plain values.

    Numbers, texts, lists, tables and ``dict(...)``; anything else is None. Nothing is executed.

    Raises:
        CheckpointError: it is no Python, or very long.
    """
    if len(text) > MAX_TEXT:
        raise CheckpointError(f"it has more than {MAX_TEXT} characters")
    try:
        lines = ast.parse(text).body
        return {
            target.id: _value(line.value)
            for line in lines
            if isinstance(line, ast.Assign)
            for target in line.targets
            if isinstance(target, ast.Name)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"it is no Python ({first_line(error)})") from error


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        values = zip(keys, node.values, strict=True)
        return {key: _value(value) for key, value in values if isinstance(key, str)}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {word.arg: _value(word.value) for word in node.keywords if word.arg}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand)
        return -value if is_number(value) else None
    return None
