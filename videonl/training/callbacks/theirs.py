"""Users' callbacks, loggers and so on in Lightning's Trainer: their errors and their state."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

import torch

from videonl.errors import OfTheirs, Stopped, VideoNLError
from videonl.escapes import as_word

# Arguments of the Trainer that may be objects of the user.
KINDS = ("callbacks", "logger", "profiler", "plugins", "strategy", "accelerator")
WRAPPING = ("plugins", "strategy", "accelerator")  # on the stack whenever the network computes
HOOKS = "lightning.pytorch.trainer.call"
LEAVES = (bool, int, float, str, bytes, torch.Tensor, torch.nn.Parameter, type(None))


def as_list(given: Any) -> list[Any]:
    """One object or several as a list; empty for None, True and False."""
    if given is None or isinstance(given, bool):
        return []
    several = isinstance(given, Iterable) and not isinstance(given, str)
    return list(given) if several else [given]


@contextmanager
def explained(options: Mapping[str, Any], *, last: Path | None = None) -> Iterator[None]:
    """Turn errors of Lightning and of a user's callback or logger into one sentence.

    Args:
        options: of the Trainer.
        last: the checkpoint of the training, once there is one.

    Raises:
        VideoNLError: Lightning refuses its arguments.
        OfTheirs: an object of the user raised an error.
    """
    try:
        yield
    except (VideoNLError, Stopped, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if of_lightning(error):
            raise VideoNLError(f"--trainer: {first_sentence(error)}") from error
        culprit = blamed(error, options)
        if culprit is None:
            raise
        kept = f"; the training so far is kept: go on with --resume {as_word(last)}"
        words = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(" .:")
        raise OfTheirs(culprit + words + (kept if last and last.is_file() else "")) from error


def blamed(error: BaseException, options: Mapping[str, Any]) -> str | None:
    """Which object of the user raised an error, and in which hook; None if none of them did.

    Example:
        >>> class Mine:
        ...     def on_fit_start(self):
        ...         raise KeyError("key")
        >>> try:
        ...     Mine().on_fit_start()
        ... except KeyError as error:
        ...     blamed(error, {}) is None
        True
    """
    culprit, kind, text = None, "", None
    for frame, _ in walk_tb(error.__traceback__):  # the outermost call first
        who = frame.f_locals.get("self")
        hook = frame.f_code.co_name
        module = str(frame.f_globals.get("__name__"))
        if module == HOOKS and "callback" in frame.f_locals:
            who, hook = frame.f_locals["callback"], frame.f_locals.get("hook_name", "state_dict")
        found = next((k for k in KINDS if any(who is g for g in as_list(options.get(k)))), None)
        if found is not None and who is not culprit:
            culprit, kind = who, found
            text = f"--trainer.{kind}: {type(who).__qualname__} failed in {hook}: "
        elif kind in WRAPPING and module.partition(".")[0] == "videonl":
            culprit, kind, text = None, "", None  # it only called the network
    return text


def of_lightning(error: Exception) -> bool:
    """Whether Lightning refuses its arguments, such as those of a callback."""
    if type(error).__name__ == "MisconfigurationException":
        return True
    *_, (frame, _) = walk_tb(error.__traceback__)
    module = str(frame.f_globals.get("__name__"))
    if module == "lightning.pytorch.loops.fit_loop":  # more batches than there are, and the like
        return isinstance(error, ValueError)
    return re.match(r"lightning\.pytorch\.(callbacks|loggers|profilers)\b", module) is not None


def first_sentence(error: Exception) -> str:
    """The first line of a message of Lightning, without its markup."""
    lines = str(error).strip().splitlines()
    return lines[0].replace("`", "").rstrip(".") if lines else type(error).__name__


def leave_out_objects(states: dict[str, Any]) -> dict[str, str]:
    """Drop the states of callbacks that the safe reader of checkpoints would refuse.

    Args:
        states: of a checkpoint, by callback; changed in place.

    Returns:
        The type of the object that cannot be saved, by callback.
    """
    found = {key: kind for key, state in states.items() if (kind := strange_in(state))}
    for key in found:
        del states[key]
    return found


def strange_in(value: Any) -> str | None:
    """The type of the first object in a state that is not a number, text, tensor, list or table."""
    if isinstance(value, Mapping):
        parts: Sequence[Any] = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple)):
        parts = value
    else:
        kind = type(value)
        return None if kind in LEAVES else f"{kind.__module__}.{kind.__qualname__}"
    return next((found for part in parts if (found := strange_in(part)) is not None), None)
