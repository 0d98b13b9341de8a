"""Settings of one jsonargparse parser, from YAML files and a command line.

jsonargparse knows the options, checks the types and imports named classes. This module adds errors
of one sentence that names the option.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from videonl import files
from videonl.cli.values import parse_value
from videonl.errors import VideoNLError
from videonl.files import expanded

if TYPE_CHECKING:
    from argparse import Action

    from jsonargparse import ArgumentParser, Namespace

# What the types of options are called in messages.
TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "Sequence": "a list",
    "dict": "a table such as {a: 1}",
    "NoneType": "null",
}


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A configuration file.

    Raises:
        VideoNLError: missing, not YAML, not a table, or a key that stands twice.
    """
    file = expanded(path)
    if not file.is_file():
        near = get_close_matches(file.name, [p.name for p in file.parent.glob("*.yaml")], n=1)
        hint = f"; did you mean {file.parent / near[0]}?" if near else ""
        raise VideoNLError(f"--config {path}: there is no such file{hint}")
    content = files.read_yaml(file)
    if not isinstance(content, dict):
        raise VideoNLError(f"{path} holds no settings; it should have lines such as model:, data:")
    return content


def options_of(parser: "ArgumentParser") -> dict[str, "Action"]:
    """The options by their dotted names, without the sections themselves and without help."""
    actions = {a.dest: a for a in parser._actions if not a.dest.endswith("help")}
    left_out = {"print_shtab", *(key.rpartition(".")[0] for key in actions)}
    return {key: action for key, action in actions.items() if key not in left_out}


def classes_of(parser: "ArgumentParser") -> list[str]:
    """The options that may name a class, which jsonargparse would import."""
    return [flag[2:-5] for flag in parser._option_string_actions if flag.endswith(".help")]


def check_key(key: str, parser: "ArgumentParser", *, source: str) -> "Action":
    """The option of a key of a file, or of a flag.

    Args:
        key: dotted; may reach into a table (``model.options.width``) or into a named class.
        parser: of the command.
        source: the file; "" is the command line.

    Raises:
        VideoNLError: there is none; names the key, where it stands, and the near ones.
    """
    known = options_of(parser)
    plain = key.removesuffix("+") if source == "" else key
    for parent in (plain, *(plain[: dot.start()] for dot in re.finditer(r"\.", plain))):
        rest = plain[len(parent) + 1 :]
        into = parent in classes_of(parser) or (parent.endswith("options") and "." not in rest)
        if parent in known and (not rest or into):
            return known[parent]
    inside = [k.removeprefix(f"{key}.") for k in known if k.startswith(f"{key}.")]
    if inside and source:
        raise VideoNLError(
            f"{source}: {key!r} is a table of options, such as {key}: {{{inside[0]}: ...}}, and "
            "no single value or list"
        )
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
    shown = f"--{key}" if source == "" else f"{source}: {key!r}"
    raise VideoNLError(f"{shown} is not an option{tail}")


def read_flags(argv: Sequence[str], parser: "ArgumentParser") -> list[str]:
    """The command line as ``--key=value`` words, which argparse cannot take for anything else.

    Raises:
        VideoNLError: an unknown option, one without its value, or a value without an option.
    """
    words, rest = [], list(argv)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or flag == "--":
            raise VideoNLError(
                f"{word!r} does not belong to an option; options are written --key value"
            )
        asks_help = flag.endswith(".help") and flag in parser._option_string_actions
        action = None if asks_help else check_key(flag[2:], parser, source="")
        if not equals and rest and not (rest[0].startswith("--") and len(rest[0]) > 2):
            equals, value = "=", rest.pop(0)
        if not equals and action is not None:
            kind = getattr(action, "_typehint", None)
            if kind is not bool and bool not in get_args(kind) and action.dest == flag[2:]:
                raise VideoNLError(f"{flag} needs a value: {flag} VALUE")
            equals, value = "=", "true"  # a switch
        if equals and not value:  # of a shell's variable that is not set
            raise VideoNLError(f"{flag} has an empty value; give one, or leave out {flag}")
        words.append(f"{flag}{equals}{value}")
    return words


def flatten(
    content: Mapping[Any, Any], parser: "ArgumentParser", prefix: str = ""
) -> Iterator[Any]:
    """A nested table as (dotted key, value); an option's own table stays whole."""
    known = options_of(parser)
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key not in known:
            yield from flatten(value, parser, f"{key}.")
        elif value is not None or key in known:
            yield key, value


def as_text(value: Any, action: "Action") -> Any:
    """A number that a file holds where text is meant, such as the name 2024, as text."""
    kind = getattr(action, "_typehint", None)
    meant = kind is str or set(get_args(kind)) == {str, type(None)}
    return str(value) if meant and type(value) in (int, float) else value


def parse(
    parser: "ArgumentParser", contents: Sequence[Mapping[str, Any]], words: Sequence[str]
) -> "Namespace":
    """What was given, later ones over earlier ones, without defaults.

    Args:
        parser: of the command.
        contents: dotted keys and values of each file.
        words: of ``read_flags``.

    Raises:
        VideoNLError: a value of the wrong type.
    """
    from jsonargparse import ArgumentError, Namespace

    given = Namespace()
    try:
        for content in contents:
            file = {key: as_text(value, options_of(parser)[key]) for key, value in content.items()}
            given = parser.parse_object(Namespace(file), given, defaults=False)
        given = parser.parse_args(list(words), given, defaults=False)
        for key, action in options_of(parser).items():
            # jsonargparse takes null everywhere in a file, and has no default for it then.
            if key in given and given[key] is None and not takes_null(action):
                raise VideoNLError(wrong_value(key, None, [kind_name(action)]))
    except ArgumentError as error:
        raise VideoNLError(sentence(str(error), contents, words)) from error
    return given


def takes_null(action: "Action") -> bool:
    """Whether null is a value of an option."""
    kind = getattr(action, "_typehint", None)
    return kind is None or type(None) in get_args(kind) or action.default is None


def kind_name(action: "Action") -> str:
    """The name of an option's type."""
    kind = getattr(action, "_typehint", action.type)
    return kind.__name__ if isinstance(kind, type) else str(kind)


def sentence(text: str, contents: Sequence[Mapping[str, Any]], words: Sequence[str]) -> str:
    """The error of jsonargparse about a wrong value as one sentence that names the option.

    Args:
        text: of several lines, with the types of Python.
        contents: as ``parse`` has them, to show the value that was given;
        words: likewise.
    """
    match = re.search(r'Parser key "([^"]+)":(.*)', text, re.DOTALL)
    if match is None:
        return " ".join(text.split())
    key, report = match[1], match[2]
    value = next((file[key] for file in reversed(contents) if key in file), None)
    written = [w.partition("=")[2] for w in words if re.match(rf"--{re.escape(key)}[+=]", w)]
    about_class = re.findall(
        r"Problem with given class_path '([^']+)':\n((?:\s+[^\s-].*\n?)+)", report
    )
    if about_class:
        name, reason = about_class[0]
        return f"--{key}: {name}: {sentence_of_class(reason)}"
    wanted = re.findall(r"Expected an? (.+?)(?:\. Got value.*)?$", report, re.MULTILINE)
    choices = [c for w in wanted if "Literal" in w for c in re.findall(r"'([^']+)'", w)]
    plain = [w for w in wanted if "Literal" not in w]
    shown = parse_value(written[-1]) if written else value
    return wrong_value(key, shown, choices + plain, report)


def sentence_of_class(reason: str) -> str:
    """What is wrong with the arguments of a class that was named."""
    lines = [line.strip(" -") for line in reason.strip().splitlines()]
    return " ".join(line.rstrip(".") for line in lines if line).replace("Parser key ", "")


def wrong_value(key: str, value: Any, wanted: Sequence[str], report: str = "") -> str:
    """The sentence of a wrong value; ``wanted`` are types of Python, or choices."""
    wanted = ["the name of a class" if w.startswith("dot import") else w for w in wanted]
    names = [re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", name) for name in wanted]
    kinds = list(dict.fromkeys(TYPES.get(name, name) for name in names))
    if "NoneType" in names and len(kinds) > 1:
        kinds.remove("null")
    if {"a number", "a whole number"} <= set(kinds):
        kinds.remove("a whole number")
    shown = "null" if value is None else repr(value)
    reason = f"it must be {' or '.join(kinds)}" if kinds else " ".join(report.split())
    return f"--{key} {shown}: {reason}"
