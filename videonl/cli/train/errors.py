"""Errors of a running training that the user can act on, as one sentence."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from videonl.cli.train.flags import read_yaml
from videonl.errors import (
    DatasetError,
    OfTheirs,
    OutputError,
    Stopped,
    Unforeseen,
    VideoError,
    VideoNLError,
    going_on,
)
from videonl.files import explain_full

# How the checks of a class begin: "batch_size=0: it must be", "preprocessing.frames is 0; it must".
NAMED = r"(?<![\w./-])(?:preprocessing\.)?({})(?==| is .{{1,80}}; it must)"
CAUGHT = re.compile(r"^Caught .* in DataLoader worker process")


@contextmanager
def clear_errors(settings: dict[str, Any], *, run_dir: Path | None = None) -> Iterator[None]:
    """Turn errors that the user can act on (disk, GPU, videos, options) into one sentence.

    Args:
        settings: of ``train.py``.
        run_dir: of a training: where its last checkpoint lies.

    Raises:
        VideoNLError: that sentence.
        Unforeseen: anything else, with the folder of the run.
    """
    import torch

    from videonl.training.callbacks.finite import TrainingDiverged

    last = run_dir / "last.ckpt" if run_dir else None
    try:
        yield
    except Stopped:
        raise
    except torch.cuda.OutOfMemoryError as error:
        raise VideoNLError(
            "the GPU does not have enough memory for so many views at once: lower "
            "--model.views_per_forward or --data.batch_size"
        ) from error
    except (DatasetError, VideoError) as error:
        root = Path(settings["data"]["root"])
        if not root.is_dir():
            raise DatasetError(
                f"the data folder {root} is gone (is its disk still mounted?); when it is back, "
                f"{going_on(last)}"
            ) from error
        raise_cause(error)
    except OutputError as error:
        raise VideoNLError(
            f"{error}; free some space or choose another folder, then {going_on(last)}"
        ) from error
    except TrainingDiverged as error:
        kept = f"; {last} holds the last finite weights" if last and last.is_file() else ""
        raise TrainingDiverged(f"{error}{kept}") from error
    except OfTheirs as error:
        raise Unforeseen(run_dir, str(error)) from error.__cause__
    except VideoNLError as error:
        raise_cause(error)
    except OSError as error:
        if (words := explain_full(error)) is None:
            raise
        place = error.filename or run_dir or "the disk"
        raise VideoNLError(
            f"{place}: the disk is full ({words}); free some space, then {going_on(last)}"
        ) from error
    except Exception as error:
        raise Unforeseen(run_dir) from error


@contextmanager
def named_by_options(argv: Sequence[str]) -> Iterator[None]:
    """Name the arguments that a class refuses by the options that set them, ``--data.batch_size``.

    Args:
        argv: the options, with the files of ``--config``.

    Raises:
        VideoNLError: the same sentence with those names.
    """
    try:
        yield
    except VideoNLError as error:
        text = str(error)
        flags = {key.rpartition(".")[2]: f"--{key}" for key in given_keys(argv) if "." in key}
        if not (names := "|".join(map(re.escape, flags))):
            raise
        named = re.sub(NAMED.format(names), lambda found: flags[found[1]], text)
        if named == text:
            raise
        raise VideoNLError(named) from error


def given_keys(argv: Sequence[str]) -> Iterator[str]:
    """The dotted names of the settings of ``--config`` files and, behind them, of options."""
    flags = [word[2:].partition("=") for word in argv if word.startswith("--")]
    behind = dict(pairwise(argv))
    files = [value or behind.get("--config", "") for name, _, value in flags if name == "config"]
    for file in files:
        with suppress(VideoNLError, OSError):
            yield from keys_of(read_yaml(file))
    yield from (name for name, _, _ in flags)


def keys_of(content: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of a nested table."""
    for name, value in content.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from keys_of(value, f"{prefix}{name}.")


def raise_cause(error: VideoNLError) -> NoReturn:
    """Raise the error itself, without the traceback that a worker process puts before it."""
    text = str(error)
    if not CAUGHT.match(text):
        raise error
    last = text.strip().splitlines()[-1]  # "videonl.errors.DatasetError: what happened"
    raise type(error)(last.partition(": ")[2] or last) from error
