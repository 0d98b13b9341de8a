"""Escape what comes from outside (classes, files, networks) for the formats that are written here.

One function per format, JSON among them; HTML is escaped by jinja2's autoescape
(``videonl/reports/pages.py``).
"""

import json
import logging
import math
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

FONT_LOG = logging.getLogger("matplotlib.font_manager")
HALVES = re.compile(r"[\ud800-\udfff]")  # bytes of a file name that are no UTF-8
# Controls, halves of pairs (bytes of a file name that are no UTF-8), line ends, and marks that turn
# the direction of writing, so that a name reads as another one.
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible(text: str, *, keep: str = "") -> str:
    r"""Replace control and direction characters by escapes: ``"a\x1b[2J"`` shows its ``\x1b``.

    Args:
        text: any.
        keep: characters that stay, such as line ends.

    Returns:
        Text that can be encoded as UTF-8 and stays on its line.
    """
    return UNSEEN.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def shortened(text: str, letters: int) -> str:
    """A text of at most so many letters, ``visible`` ones: both ends stay, for they tell it apart.

    Example:
        >>> shortened("pushing it from left to right", 17)
        'pushing …to right'
    """
    text = visible(text)
    if len(text) <= letters:
        return text
    first = letters // 2
    return f"{text[:first]}…{text[first + 1 - letters :]}"


def as_word(value: object) -> str:
    """Quote a value as one word of a shell command line.

    Example:
        >>> as_word("my videos"), as_word("runs/x")
        ("'my videos'", 'runs/x')
    """
    return shlex.quote(str(value))


def markdown_text(text: str) -> str:
    r"""A name in running Markdown or in a cell of a table, shown letter by letter.

    Characters on which GitHub's renderer acts are escaped: tags, entities, emphasis, code,
    mathematics, links and the bar between cells. Underscores and brackets within words stay.
    """
    text = re.sub(r"[\\`*|$~]", r"\\\g<0>", visible(text))
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)
    text = re.sub(r"\](?=[(\[:])", r"\\]", text)
    return text.replace("&", "&amp;").replace("<", "&lt;")


def markdown_row(cells: Iterable[str]) -> str:
    """One line of a table; the cells are plain text."""
    return f"| {' | '.join(map(markdown_text, cells))} |"


@contextmanager
def figure_text(names: Iterable[str]) -> Iterator[Callable[[str], str]]:
    """Draw names in a matplotlib figure literally; build the whole figure inside the block.

    A dollar sign starts no mathematics. Letters that the default font lacks come from fonts of
    this machine; those that no font has are shown as escapes, where matplotlib would warn and draw
    boxes.

    Args:
        names: the names that will be drawn.

    Yields:
        The function that gives every name its drawable form.
    """
    from matplotlib import rc_context, rcParams

    FONT_LOG.setLevel(logging.ERROR)  # that a family has no bold is nothing a user can act on
    families = tuple(rcParams["font.family"])
    letters = {char for name in names for char in visible(name)}
    found = {char: _family_with(char, families) for char in sorted(letters)}
    missing = {char for char, family in found.items() if family is None}

    def drawable(name: str) -> str:
        return "".join(_escape(c) if c in missing else c for c in visible(name))

    more = dict.fromkeys(family for family in found.values() if family)
    with rc_context({"font.family": [*families, *more], "text.parse_math": False}):
        yield drawable


@lru_cache(maxsize=4096)
def font_for(name: str) -> tuple[str, str]:
    """A name in its drawable form, and the file of a font that has all its letters.

    Letters that no font of this machine has, together with the others, are shown as escapes.
    """
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    shown = visible(name)
    default = str(findfont(FontProperties(family=["DejaVu Sans"])))
    wanted = {ord(char) for char in shown}
    if wanted <= _letters(default):
        return shown, default
    own = any(unicodedata.category(char) == "Co" for char in shown)  # as for _family_with
    for font in [] if own else sorted(fontManager.ttflist, key=lambda font: font.name):
        plain = font.style == font.variant == "normal" and not font.name.startswith("Last Resort")
        if plain and wanted <= _letters(font.fname):
            return shown, str(font.fname)
    known = _letters(default)
    return "".join(c if ord(c) in known else _escape(c) for c in shown), default


@lru_cache(maxsize=4096)
def _family_with(char: str, families: tuple[str, ...]) -> str | None:
    """An installed family that has a letter, "" where these families do, None where none does."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    weights = ("normal", "bold")
    default = [findfont(FontProperties(family=list(families), weight=w)) for w in weights]
    if all(ord(char) in _letters(path) for path in default):
        return ""
    if unicodedata.category(char) == "Co":  # every font has signs of its own there
        return None
    files_of: dict[str, list[str]] = {}
    for font in fontManager.ttflist:
        # The last resort has a box for every letter there is.
        if font.style == font.variant == "normal" and not font.name.startswith("Last Resort"):
            files_of.setdefault(font.name, []).append(font.fname)
    return next(
        (
            name
            for name, paths in sorted(files_of.items())
            if all(ord(char) in _letters(path) for path in paths)
        ),
        None,
    )


@cache
def _letters(path: str) -> frozenset[int]:
    """The code points that a font file has."""
    from matplotlib.font_manager import get_font

    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError, ValueError):  # a font file that is gone or damaged
        return frozenset()


def json_text(value: Any, *, ascii: bool = False, **layout: Any) -> str:
    """A value as standard JSON: NaN and infinity, which JSON does not have, become null.

    Args:
        value: primitives, lists, tuples and tables of them. A number that is not finite is
            undefined, and becomes ``null``.
        ascii: escape everything beyond ASCII; else only bytes of file names that are not UTF-8.
        layout: of ``json.dumps``: ``indent``, ``sort_keys``, ``default``.

    Example:
        >>> json_text({"mean": float("nan"), "name": "ü"})
        '{"mean": null, "name": "ü"}'
    """
    try:
        text = json.dumps(value, ensure_ascii=ascii, allow_nan=False, **layout)
    except ValueError:  # rare: the copy is made only then
        value = _defined(value)
        text = json.dumps(value, ensure_ascii=ascii, allow_nan=False, **layout)
    return HALVES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _defined(value: Any) -> Any:
    """The value with None for every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _defined(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_defined(item) for item in value]
    return value
