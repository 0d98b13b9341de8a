"""The reference: every public name by the doors of its room, every command, every key of YAML.

``pages()`` gives them as Markdown; nothing of it is committed.
"""

import ast
import contextlib
import io
import os
from argparse import Action
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import get_args

import videonl
from videonl.cli.main import COMMANDS, main
from videonl.cli.train.flags import options_of
from videonl.cli.train.help import PAGES
from videonl.cli.train.parser import make_parser, plain_text

PACKAGE = Path(videonl.__file__).parent
ROOMS = sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py") if p.parent.name != "cli")
NAMES = [f"reference/{name}.md" for name in ("index", "commands", "settings", *ROOMS)]


def pages() -> dict[str, str]:
    """Path below ``docs/`` -> Markdown."""
    found = {f"reference/{room}.md": room_page(room) for room in ROOMS}
    found["reference/commands.md"] = commands_page()
    found["reference/settings.md"] = settings_page()
    return {"reference/index.md": index_page(), **found}


def index_page() -> str:
    """What there is, one line each."""
    rooms = [f"- [`videonl.{room}`]({room}.md): {summary(room)}" for room in ROOMS]
    return "\n".join(
        [
            "# Reference",
            "",
            "Written from the code when this site was built.",
            "",
            "- [Commands](commands.md): every command with every option.",
            "- [Settings](settings.md): every key of a YAML file, which is also a flag.",
            "",
            "The names of `import videonl` are those of their rooms: "
            + ", ".join(f"`{name}`" for name in videonl.__all__[1:])
            + ".",
            "",
            *rooms,
        ]
    )


def summary(room: str) -> str:
    """The first sentence of a room's docstring."""
    return " ".join((import_module(f"videonl.{room}").__doc__ or "").split("\n\n")[0].split())


def room_page(room: str) -> str:
    """Every public name of a room."""
    homes, module = definitions(room), import_module(f"videonl.{room}")
    lines = [f"# videonl.{room}", "", summary(room), ""]
    for name in sorted(module.__all__):
        home = homes.get(name) or getattr(module, name).__module__  # of a lower floor
        lines += [f"::: {home}.{name}", ""]
    return "\n".join(lines)


def definitions(room: str) -> dict[str, str]:
    """Name -> the module of a room whose source defines it at its top level."""
    found = {}
    for path in sorted((PACKAGE / room).rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found.setdefault(node.name, module)
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets += [node.target] if isinstance(node, ast.AnnAssign) else []
            for target in targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, module)
    return found


def helps() -> Iterator[tuple[str, str]]:
    """(command, its help) of every command, ``train`` once for each of its own."""
    for name in COMMANDS:
        modes = [[], *([mode] for mode in PAGES)] if name == "train" else [[]]
        for mode in modes:
            shown = io.StringIO()
            os.environ["COLUMNS"] = "100"
            with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
                main([name, *mode, "--help"])
            yield " ".join(["videonl", name, *mode]), shown.getvalue().strip()


def commands_page() -> str:
    """The help of every command, word for word."""
    lines = ["# Commands", "", "`train.py` is `videonl train`, `infer.py` is `videonl predict`."]
    for command, text in helps():
        lines += ["", f"## {command}", "", "```text", text, "```"]
    return "\n".join(lines)


def settings_page() -> str:
    """One table per section of a configuration file."""
    lines = [
        *("# Settings", ""),
        "Every key of a file for `train.py --config`; each is a flag of the same name, too. The "
        "files of `videonl compare --sweep` are explained in [Prove a gain](../proving.md).",
    ]
    section = None
    for key, action in options_of(make_parser("fit")).items():
        if section != (section := key.partition(".")[0] if "." in key else "general"):
            lines += ["", f"## {section}", "", "| key | values | default | |", "|---|---|---|---|"]
        words = " ".join(plain_text(action.help or "").split()).replace("|", "\\|")
        values, default = kinds(action).replace("|", "\\|"), shown(action.default)
        lines.append(f"| `{key}` | {values} | {default} | {words} |")
    return "\n".join(lines)


def kinds(action: Action) -> str:
    """The values that an option takes, in short."""
    hint = getattr(action, "_typehint", None) or action.type
    if not get_args(hint):
        return getattr(hint, "__name__", str(hint))
    return (
        str(hint).replace("typing.", "").replace("collections.abc.", "").replace("NoneType", "null")
    )


def shown(value: object) -> str:
    """A default as YAML writes it."""
    if value is None:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
