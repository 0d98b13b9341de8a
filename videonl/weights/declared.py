"""Limits for what a file declares about its network, checked before the network is made.

A small file can declare anything: a width of a million, 10^9 frames per clip, a deviation of zero.
What the tensors determine (width, classes, blocks) is compared with them in ``fitting``; the rest,
above all the clips, has limits here.

A file may declare the name of a registered network, and that network's options.

A name such as ``package.module:function`` imports code. It is accepted only from the user (the
command line, a ``--config`` named there, an argument in Python), never from a file: neither from a
checkpoint nor from the configuration in a run's folder. Everything that reads the name of a network
from a file checks it here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from videonl.errors import CheckpointError, VideoNLError
from videonl.limits import Limit, Rule, Said, number, shown, whole
from videonl.models.registry import is_import_path
from videonl.shares import counted
from videonl.video.preprocessing import RULES, Preprocessing, check_entries

MAX_CLASSES = 1_000_000
MAX_SIZE = 65_536  # of a width, a kernel, a count: anything that is a number in options
MAX_BLOCKS = 128  # residual blocks of one stage
MAX_TEXT = 2000
MAX_VALUES = 20_000  # of options and provenance
CHANNELS = 3


def sizes(low: int, high: int) -> Said:
    """A few whole numbers, such as a kernel."""
    each = Limit(low, high, integral=True, length=-1)
    return Said(
        f"1 to 4 whole numbers from {low} to {high}", lambda v: each.allows(v) and 1 <= len(v) <= 4
    )


SHARE = number(0, 1)
# What the tensors do not determine, or only after the network is made. None is the preset's value.
OPTIONS: dict[str, Rule] = {
    "width": whole(1, MAX_SIZE),
    "depth": whole(1, 1000),
    "in_channels": whole(CHANNELS, CHANNELS),
    "dropout": SHARE,
    "norm_eps": SHARE,
    **dict.fromkeys(("stem_kernel", "pool1_kernel", "pool2_kernel", "head_window"), sizes(1, 64)),
    **dict.fromkeys(("strides", "stem_stride", "pool1_stride"), sizes(1, 64)),
    "pool1_padding": sizes(0, 32),
}


def check_preprocessing(values: Mapping[str, Any], source: str | Path) -> None:
    """Refuse clips that make no sense, or that no machine can hold.

    Args:
        values: some of the entries of a ``Preprocessing``.
        source: the file, for the message.

    Raises:
        CheckpointError: names the file, the entry, its value and the limit.
    """
    check_values(values, "preprocessing", source)
    for name in ("mean", "std"):  # a data set may leave them to its network, a file may not
        if name in values and values[name] is None:
            refuse(
                source, f"preprocessing.{name}", None, str(RULES[name]).removesuffix(", or none")
            )
    try:
        check_entries(values)
    except VideoNLError as error:
        raise CheckpointError(f"{source}: {error}") from error


def preprocessing_in_file(
    values: Mapping[str, Any], source: str | Path, *, made_for: Mapping[str, Any] | None = None
) -> Preprocessing:
    """The preprocessing that a file declares, completed by that of its network.

    Args:
        values: of the file.
        source: the file, for the message.
        made_for: of the network.

    Raises:
        CheckpointError: names the file and what is wrong.
    """
    check_preprocessing(values, source)
    try:
        shown = Preprocessing.completed(values, made_for or {})
        return shown.changed(**dict(zip(("mean", "std"), shown.colours, strict=True)))
    except VideoNLError as error:
        raise CheckpointError(f"{source}: {error}") from error


def changed_by(own: Mapping[str, Any], said: Mapping[str, Any], source: str) -> Preprocessing:
    """A network's preprocessing with some entries replaced.

    Raises:
        CheckpointError: an entry is wrong, or does not apply to such clips; names ``source``.
    """
    check_preprocessing(said, source)
    try:
        return Preprocessing.from_dict(own).changed(**said)
    except VideoNLError as error:
        raise CheckpointError(f"{source}: {error}") from error


def check_options(options: Mapping[str, Any], *, tensors: int, source: str | Path) -> None:
    """Refuse options with which a network would take long to make even without memory.

    Args:
        options: of the network, from the file.
        tensors: number of tensors in the file: a network has more of them than residual blocks.
        source: the file, for the message.

    Raises:
        CheckpointError: names the file, the option, its value and the limit.
    """
    rules = {**OPTIONS, "layers": sizes(1, min(MAX_BLOCKS, tensors))}
    for key, value in options.items():
        if key in rules and value is not None and not rules[key].allows(value):
            refuse(source, f"options.{key}", value, str(rules[key]))
    check_values(options, "options", source)
    if isinstance(options.get("preprocessing"), Mapping):
        check_preprocessing(options["preprocessing"], source)


def check_values(values: Any, key: str, source: str | Path, *, largest: float = MAX_SIZE) -> None:
    """Refuse a table with anything but texts and numbers of sensible sizes, or with too many.

    Raises:
        CheckpointError: names the file, the entry, its value and the limit.
    """
    if not isinstance(values, Mapping):
        refuse(source, key, values, "a table")
    waiting, count = [(key, values)], 0
    while waiting:
        where, value = waiting.pop()
        count += 1
        if count > MAX_VALUES:
            refuse(source, key, f"a table of over {MAX_VALUES} values", f"{MAX_VALUES} values")
        if isinstance(value, Mapping):
            for name in value:
                if not isinstance(name, str) or len(name) > MAX_TEXT:
                    refuse(source, where, f"keyed by {shown(name)}", "keyed by names")
            waiting += [(f"{where}.{name}"[:200], each) for name, each in value.items()]
        elif isinstance(value, (list, tuple, range)):
            waiting += [(where, each) for each in value]
        elif isinstance(value, str):
            if len(value) > MAX_TEXT:
                refuse(source, where, value, f"a text of at most {MAX_TEXT} characters")
        elif isinstance(value, (int, float)):
            if not -largest <= value <= largest:  # NaN and infinity too
                refuse(source, where, value, f"a number up to {largest:g}")
        elif value is not None and not isinstance(value, type):  # an Affinity of the user's
            refuse(source, where, f"a {type(value).__name__}", "a text, a number or a list")


def check_names(names: Any, classes: int, source: str | Path) -> list[str] | None:
    """The class names of a file; None where it has none.

    Raises:
        CheckpointError: not a list of texts, or their number is not that of the classes.
    """
    if names is None or (isinstance(names, (list, tuple)) and not names):
        return None
    if not isinstance(names, (list, tuple)):
        refuse(source, "class_names", names, "a list of names")
    if len(names) != classes:
        refuse(source, "class_names", counted(len(names), "name"), f"{classes}, one per class")
    odd = next((n for n in names if not isinstance(n, str) or not 0 < len(n) <= MAX_TEXT), None)
    if odd is not None:
        refuse(source, "class_names", odd, f"names of 1 to {MAX_TEXT} characters")
    return list(names)


def refuse(source: str | Path, key: str, value: Any, wanted: str) -> NoReturn:
    """Report the value of a file that violates its limit.

    Raises:
        CheckpointError: always.
    """
    raise CheckpointError(f"{source}: {key} is {shown(value)}; it must be {wanted}")


# Arguments of ``create_model`` that are not options of a network.
OURS = frozenset({"name", "num_classes", "pretrained"})


def name_in_file(name: object, *, source: str | Path, said: str | None = None) -> str:
    """Check the name of a network in a file; one that imports code is accepted only if ``said``.

    Args:
        name: from the file.
        source: the file, for the message.
        said: the name that the user gave; None: none.

    Raises:
        CheckpointError: not a text; or a name that imports code and that the user did not give.
    """
    if not isinstance(name, str):
        raise CheckpointError(f"{source} does not name its network (name={name!r})")
    if is_import_path(name) and said != name:
        shown = name if len(name) <= 200 else f"{name[:200]}..."
        raise CheckpointError(
            f"{source} asks for the network {shown!r}, which is not part of videonl, and a file is "
            f"never allowed to import code: if you trust that code, give --model.name {shown} "
            "yourself (in Python: network=)"
        )
    return name


def options_in_file(options: object, *, source: str | Path) -> dict[str, Any]:
    """The options of a network in a file; empty if it has none.

    Raises:
        CheckpointError: not a table, or entries that are not options: a file names no other file.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise CheckpointError(f"{source}: the options of its network are not a table")
    strange = sorted(key for key in map(str, options) if key in OURS)
    if strange:
        raise CheckpointError(f"{source}: {strange[0]!r} is not an option of a network")
    return {str(key): value for key, value in options.items()}
