"""What stands around every command: its output, and the errors that nobody expected.

Standard output and error print any file name safely, also where they are closed or full. Of an
unexpected error the user sees one sentence, and developers find the traceback in a file.
"""

import errno
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from videonl.errors import OutputLost, Unforeseen
from videonl.escapes import UNSEEN, visible
from videonl.files import is_stdout

# What progress bars draw with: colours, up, erase a line, the cursor shown and hidden.
DRAWING = re.compile(r"(\x1b\[[0-9;]*[mAK]|\x1b\[\?25[hl])")
FLAG, VARIABLE = "--debug", "VIDEONL_DEBUG"
TRACE = "error.txt"  # in the folder of a run
LONGEST = 300  # characters of the error's own words


class ShownStream:
    """A text stream on which file names cannot move the cursor or hide text.

    Characters that its encoding lacks, halves of pairs (bytes of a file name that are no UTF-8)
    and control characters appear as escapes. Everything else is the stream's own.
    """

    def __init__(self, stream: Any, *, may_fail: bool) -> None:
        """Wrap a stream; ``may_fail``: what cannot be written there is dropped."""
        self._stream, self._may_fail = stream, may_fail
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, escaped.

        Raises:
            OutputLost: it takes no more.
        """
        if UNSEEN.search(text):
            drawn = self._stream.isatty()  # a bar also goes back to the begin of its line
            parts = DRAWING.split(text) if drawn else [text]
            keep = "\n\t\r" if drawn else "\n\t"
            parts[::2] = [visible(part, keep=keep) for part in parts[::2]]
            self._try(self._stream.write, "".join(parts))
        else:
            self._try(self._stream.write, text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand over what is buffered.

        Raises:
            OutputLost: it takes no more.
        """
        self._try(self._stream.flush)

    def _try(self, act: Any, *given: str) -> None:
        try:
            act(*given)
        except OSError as error:
            if not self._may_fail:
                raise OutputLost(error) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class ClosedStream(ShownStream):
    """Standard output of a program that was started without one (``>&-``)."""

    def __init__(self) -> None:
        super().__init__(open(os.devnull, "w", encoding="utf-8"), may_fail=False)  # noqa: SIM115
        self.missed = False

    def write(self, text: str) -> int:
        """Record that something should have been printed."""
        self.missed = self.missed or bool(text)
        return super().write(text)

    def flush(self) -> None:
        """Nothing is buffered that anybody waits for."""


@contextmanager
def words_apart(*outputs: str | Path | None) -> Iterator[None]:
    """Print on standard error where an output of the command is standard output (``-``)."""
    taken = any(output is not None and is_stdout(output) for output in outputs)
    with redirect_stdout(sys.stderr) if taken else nullcontext():
        yield


def _one_warning(message: Warning | str, *_place: object, **_line: object) -> str:
    """A warning as a user reads it, without the place and the line of code that Python adds."""
    return f"warning: {' '.join(str(message).split())}\n"


@contextmanager
def shown_streams() -> Iterator[None]:
    """Standard output and error as ``ShownStream``, for as long as a command runs.

    Raises:
        OutputLost: the end of what was printed cannot be written.
    """
    before = sys.stdout, sys.stderr
    if isinstance(sys.stdout, ShownStream):
        yield
        return
    format_before = warnings.formatwarning
    _fill_closed()
    out = ClosedStream() if sys.stdout is None else ShownStream(sys.stdout, may_fail=False)
    err = None if sys.stderr is None else ShownStream(sys.stderr, may_fail=True)
    sys.stdout, sys.stderr = out, err or ClosedStream()  # type: ignore[assignment]
    warnings.formatwarning = _one_warning
    try:
        yield
    except SystemExit:  # argparse has printed its help
        _finish(out)
        raise
    else:
        _finish(out)
    finally:
        sys.stderr.flush()
        sys.stdout, sys.stderr = before
        warnings.formatwarning = format_before


def _finish(out: ShownStream) -> None:
    out.flush()
    if isinstance(out, ClosedStream) and out.missed:
        raise OutputLost(OSError(errno.EBADF, "it is closed"))


def _fill_closed() -> None:
    """Take the numbers of closed standard streams, or the next file opened would get them."""
    while True:
        number = os.open(os.devnull, os.O_RDWR)
        if number > 2:
            os.close(number)
            return


def give_up_output() -> None:
    """Send what Python still holds for a lost standard output nowhere, without a word at exit."""
    if sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError, ValueError):  # a stream without a file
            os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


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
