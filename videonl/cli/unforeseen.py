"""Unexpected errors: one sentence for the user, the traceback in a file for developers."""

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from videonl.errors import Unforeseen

FLAG, VARIABLE = "--debug", "VIDEONL_DEBUG"
TRACE = "error.txt"  # in the folder of a run
LONGEST = 300  # characters of the error's own words


def asked_for_trace(argv: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without ``--debug``, and whether it or the variable was given.

    Words after ``--`` are file names.

    Example:
        >>> asked_for_trace(["predict", "--debug", "--", "--debug"])[0]
        ['predict', '--', '--debug']
    """
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != FLAG] + words[end:]
    given = len(kept) < len(words)
    return kept, given or os.environ.get(VARIABLE, "0").lower() not in ("", "0", "false", "no")


def tell_unforeseen(error: Exception, *, prog: str, debug: bool) -> int:
    """Print the sentence; returns the exit code, 1.

    Args:
        error: what was raised; an :class:`Unforeseen` knows the folder of its run.
        prog: what to call the program.
        debug: print the trace instead of keeping it.
    """
    folder = error.folder if isinstance(error, Unforeseen) else None
    cause = error.__cause__ if isinstance(error, Unforeseen) and error.__cause__ else error
    trace = "".join(traceback.format_exception(cause))
    if debug:
        print(trace, end="", file=sys.stderr)
    place = None if debug else _keep(trace, folder)
    words = error.words if isinstance(error, Unforeseen) else None
    where = "above" if debug else f"in {place}" if place else f"shown with {FLAG}"
    text = words or f"unexpected error: {_words(cause)}"
    print(f"{prog}: error: {text} (the trace is {where})", file=sys.stderr)
    return 1


def _words(error: BaseException) -> str:
    """Kind and words of an error, in one line."""
    words = " ".join(str(error).split())
    words = words if len(words) <= LONGEST else words[:LONGEST] + " ..."
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _keep(trace: str, folder: Path | None) -> Path | None:
    """Write the trace into the run's folder, else a temporary file; None where neither takes it."""
    content = trace.encode("utf-8", "backslashreplace")
    if folder is not None and folder.is_dir():
        with suppress(OSError):
            (folder / TRACE).write_bytes(content)
            return folder / TRACE
    with suppress(OSError):
        handle, name = tempfile.mkstemp(prefix="videonl-error-", suffix=".txt")
        with open(handle, "wb") as file:
            file.write(content)
        return Path(name)
    return None
