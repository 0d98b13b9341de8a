"""Class names: those of Kinetics-400, their order, files of names, and the names of a network.

Copies of Kinetics write a class ``"dancing gangnam style"``, ``dancing_gangnam_style`` or, with
torchvision's script, ``skiing_slalom`` without the characters ``'()``, which changes the order of a
plain sort. So a name is looked up as it is first, then without case, spaces and punctuation, and
gets its number in the official list. ``C`` and ``C++`` are two classes, ``push up`` and ``push_up``
are one.
"""

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from videonl.errors import DatasetError, VideoNLError
from videonl.escapes import parse_json
from videonl.files import read_text
from videonl.shares import counted

MAX_FILE = 16 * 1024 * 1024  # bytes of a file of names


@cache
def _kinetics400() -> tuple[str, ...]:
    from torchvision.models.video import R3D_18_Weights

    return tuple(R3D_18_Weights.DEFAULT.meta["categories"])


def kinetics400() -> list[str]:
    """The 400 names of Kinetics-400, sorted, the order of every published network's logits.

    They come with torchvision's weights metadata; nothing is fetched.
    """
    return list(_kinetics400())


def normalised(name: str) -> str:
    """A class name reduced to lower-case letters, with their accents, and digits of any script."""
    whole = unicodedata.normalize("NFKC", name.casefold())
    return "".join(c for c in whole if c.isalnum() or unicodedata.category(c)[0] == "M") or name


def _without_light_signs(name: str) -> str:
    """A name without case and without the signs in which copies of one data set differ.

    Those are punctuation, signs that have no width, and how an accent is encoded: file systems and
    archives of macOS have it behind its letter.
    """
    whole = unicodedata.normalize("NFC", name.casefold())
    return re.sub(r"""[\s_\-.,'"()\u00ad\u200b-\u200f\u2060\ufeff]+""", "", whole) or name


class ClassNumbers:
    """Finds the number of a class by its name, however a copy writes it.

    Args:
        names: of the classes, in the order of their numbers.

    Example:
        >>> numbers = ClassNumbers(["C", "C++", "push up"])
        >>> [numbers.get(name) for name in ("C++", "c", "Push_Up", "D")]
        [1, 0, 2, None]
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._ways: list[tuple[Callable[[str], str], dict[str, int | None]]] = []
        listed = list(names)
        for key in (str, _without_light_signs, normalised):
            found: dict[str, int | None] = {}
            for number, name in enumerate(listed):
                found[key(name)] = None if key(name) in found else number  # None: of several
            self._ways.append((key, found))

    def get(self, name: str) -> int | None:
        """The number of the class; None where no class, or more than one, matches."""
        for key, found in self._ways:
            if key(name) in found:
                return found[key(name)]
        return None

    def check_spellings(self, names: Iterable[str]) -> None:
        """Refuse two names that would be matched to one class although they look different.

        Raises:
            DatasetError: two names that differ in more than case, spaces and quotes.
        """
        met: dict[int, str] = {}
        for name in sorted(set(names)):
            number = self.get(name)
            other = name if number is None else met.setdefault(number, name)
            if _without_light_signs(other) != _without_light_signs(name):
                raise DatasetError(
                    f"the classes {other!r} and {name!r} would both be matched to the same class; "
                    "give a file with a line for each class (--data.class_names_file)"
                )

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __getitem__(self, name: str) -> int:
        number = self.get(name)
        if number is None:
            raise KeyError(name)
        return number


def order_classes(names: Iterable[str]) -> list[str]:
    """Class names in their canonical order.

    If every name is one of Kinetics-400, their official names in official order; else the names as
    given, sorted.

    Raises:
        DatasetError: two names mean the same class.
    """
    given: dict[str, str] = {}
    for name in sorted(names):
        light = _without_light_signs(name)
        if light in given:
            raise DatasetError(
                f"the classes {given[light]!r} and {name!r} differ only in punctuation, case or "
                "how accents are encoded; merge or rename them, or list both in a file "
                "(--data.class_names_file)"
            )
        given[light] = name
    loose = {normalised(name): name for name in given.values()}
    canonical = {normalised(name): name for name in kinetics400()} if given else {}
    if given and len(loose) == len(given) and all(key in canonical for key in loose):
        return [name for key, name in canonical.items() if key in loose]
    _warn_of_lost_signs(loose)
    return sorted(given.values())


def _warn_of_lost_signs(given: dict[str, str]) -> None:
    """Names of Kinetics-600 or -700 without ``'()`` do not sort as the official lists do."""
    if len(given) in (600, 700) and not any(sign in n for n in given.values() for sign in "'()"):
        known = sum(normalised(name) in given for name in kinetics400())
        if known > 300:  # of the 400 names, 368 are in Kinetics-600 and 378 in Kinetics-700
            warnings.warn(
                f"these {len(given)} class names look like those of Kinetics-{len(given)} without "
                "the characters '(), so they sort differently from the official list: where class "
                "numbers of others matter, give that list with --data.class_names_file",
                stacklevel=3,
            )


def read_class_names(path: str | Path) -> list[str]:
    """The names of a file, in the order of their numbers.

    Args:
        path: one name per line, alone or behind its number (``1 ApplyEyeMakeup``, counted from 0
            or 1), or JSON: a list of names, or a table from name to number (the ``classids.json``
            of video-nonlocal-net, whose names hold quotes that are removed).

    Raises:
        VideoNLError: no such file, no text, no names, a name twice, or numbers with gaps.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_FILE:
            raise VideoNLError(f"{path} is too large for a list of class names (over 16 MiB)")
        text = read_text(file, strict=True)
    except OSError as error:
        raise VideoNLError(f"the class names {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise VideoNLError(f"the class names {path} cannot be read (not UTF-8 text)") from error
    json_like = text.lstrip()[:1] in ("[", "{")
    names = _from_json(text, path) if json_like else _without_numbers(text.split("\n"))
    names = [name.strip().strip('"').strip() for name in names]
    names = [name for name in names if name]
    if not names:
        raise VideoNLError(f"{path} contains no class names; write one per line")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise VideoNLError(f"{path} lists a class twice: {', '.join(twice[:5])}")
    return names


def _without_numbers(lines: Sequence[str]) -> list[str]:
    """The lines, or the text after their numbers where they are numbered from 0 or 1."""
    found = [re.fullmatch(r"(\d+)[\s,;]+(.*\S)", line.strip()) for line in lines if line.strip()]
    numbers = [int(match[1]) for match in found if match]
    for first in (0, 1):
        if len(found) > 1 and numbers == list(range(first, first + len(found))):
            return [match[2] for match in found if match]
    return list(lines)


def _from_json(text: str, path: str | Path) -> list[str]:
    """Names of a JSON list or of a table from name to number.

    Raises:
        VideoNLError: anything else.
    """
    try:
        found = parse_json(text)
    except ValueError as error:
        raise VideoNLError(f"the class names {path} are not valid JSON ({error})") from None
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return found
    if isinstance(found, dict) and sorted(map(str, found.values())) == sorted(
        map(str, range(len(found)))
    ):
        return sorted(found, key=lambda name: int(found[name]))
    raise VideoNLError(
        f"the class names {path} must be a list of names or a table name -> 0, 1, 2, …"
    )


def choose_names(
    own: Sequence[str] | None,
    *,
    given: Sequence[str] | None,
    count: int | None,
    source: str,
) -> list[str]:
    """The class names of a network's outputs.

    Args:
        own: names stored in the checkpoint, or None.
        given: names given by the user, or None.
        count: classes of the network, if known.
        source: the checkpoint, for the message.

    Raises:
        VideoNLError: a wrong number of names, or the checkpoint's own names in another order.
    """
    wanted = count or (len(own) if own is not None else None)
    if given is not None:
        if wanted is not None and len(given) != wanted:
            raise VideoNLError(
                f"{source} has {counted(wanted, 'class')}, but {counted(len(given), 'label')} "
                "came; give one per class, in the order of the network's outputs"
            )
        places = list(map(ClassNumbers(own or ()).get, given))
        if set(places) == set(range(len(given))) and places != list(range(len(given))):
            raise VideoNLError(
                f"the labels are those of {source} in another order; leave out the file of "
                "labels: the checkpoint contains the right order"
            )
        return list(given)
    if own is not None:
        return list(own)
    if wanted is None:
        raise VideoNLError(f"{source} contains no class names; give a file with --labels")
    return [f"class {index}" for index in range(wanted)]
