"""Class names from a checkpoint, from a file, or numbers where nobody knows them."""

from collections.abc import Sequence
from pathlib import Path

from videonl.errors import VideoNLError


def read_labels(path: str | Path) -> list[str]:
    """One class name per line, in the order of the network's outputs; empty lines are skipped.

    Raises:
        VideoNLError: the file is missing, empty, no text, or names a class twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VideoNLError(f"the labels file {path} can not be read ({error})") from error
    names = [line.strip().strip('"') for line in lines if line.strip()]
    if not names:
        raise VideoNLError(f"the labels file {path} is empty; it needs one class name per line")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise VideoNLError(f"the labels file {path} names {twice[0]!r} twice")
    return names


def choose_names(
    own: Sequence[str] | None,
    *,
    given: Sequence[str] | None,
    count: int | None,
    source: str,
) -> list[str]:
    """The names to show.

    Args:
        own: what the checkpoint says, or None.
        given: what the user says, or None.
        count: classes of the network, if known.
        source: the checkpoint, for the message.

    Raises:
        VideoNLError: a wrong number of names, or the checkpoint's own names in another order.
    """
    wanted = count or (len(own) if own is not None else None)
    if given is not None:
        if wanted is not None and len(given) != wanted:
            raise VideoNLError(f"{len(given)} labels for {source}, which has {wanted} classes")
        if own is not None and list(given) != list(own) and sorted(given) == sorted(own):
            raise VideoNLError(
                f"the labels are those of {source} in another order; leave the file out, "
                "the checkpoint knows its order"
            )
        return list(given)
    if own is not None:
        return list(own)
    if wanted is None:
        raise VideoNLError(f"{source} does not say its class names; give a file with --labels")
    return [f"class {index}" for index in range(wanted)]
