"""The order of class names: the canonical list where one is known, never an accident of sorting.

Copies of Kinetics write a class ``"dancing gangnam style"``, ``dancing_gangnam_style`` or, with
torchvision's script, ``skiing_slalom`` without the signs ``'()``, which swaps neighbours in a plain
sort. So names are compared without case, spaces and signs, and numbered as the list has them.
"""

import re
import warnings
from collections.abc import Iterable

from videonl.errors import DatasetError


def normalised(name: str) -> str:
    """A class name reduced to lower-case letters and digits of any script."""
    reduced = re.sub(r"[\W_]+", "", name.casefold())
    return reduced or name


def order_classes(names: Iterable[str]) -> list[str]:
    """Class names in their canonical order.

    If every name is one of Kinetics-400, their official names in official order; else the names as
    given, sorted.

    Raises:
        DatasetError: two names mean the same class.
    """
    given: dict[str, str] = {}
    for name in sorted(names):
        if normalised(name) in given:
            raise DatasetError(
                f"the classes {given[normalised(name)]!r} and {name!r} differ in signs or case "
                "only; merge or rename them"
            )
        given[normalised(name)] = name
    canonical = {normalised(name): name for name in kinetics400()} if given else {}
    if given and all(key in canonical for key in given):
        return [name for key, name in canonical.items() if key in given]
    _warn_of_lost_signs(given)
    return sorted(given.values())


def _warn_of_lost_signs(given: dict[str, str]) -> None:
    """Names of Kinetics-600 or -700 without ``'()`` do not sort as the official lists do."""
    if len(given) in (600, 700) and not any(sign in n for n in given.values() for sign in "'()"):
        known = sum(normalised(name) in given for name in kinetics400())
        if known > 300:  # of the 400 names, 368 are in Kinetics-600 and 378 in Kinetics-700
            warnings.warn(
                f"these {len(given)} class names look like Kinetics-{len(given)} without the signs "
                "'(), which sort differently from the official list: to use class numbers of "
                "others, give the list with --data.class_names_file",
                stacklevel=3,
            )


def kinetics400() -> list[str]:
    """The 400 class names of Kinetics-400 in official order (torchvision carries them)."""
    from torchvision.models.video import R3D_18_Weights

    return list(R3D_18_Weights.DEFAULT.meta["categories"])
