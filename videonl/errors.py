"""The errors for bad input: each is one sentence that names the cause and says what to do.

They are all ``ValueError``, so that library users can catch what they know; the commands print the
sentence without a traceback and exit with 2.
"""

import errno
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from videonl.escapes import as_word


class VideoNLError(ValueError):
    """Bad input: an argument, a file or a configuration that videonl cannot use as it is."""


class VideoError(VideoNLError):
    """A video file that cannot be read: missing, not a video, truncated, no video stream."""


class DatasetError(VideoNLError):
    """A data set whose layout, labels or number of videos does not allow what was asked."""


class CheckpointError(VideoNLError):
    """A checkpoint that is missing, unsafe, of an unknown format or does not fit the network."""


class OutputError(VideoNLError):
    """A file that cannot be written: no permission, a full disk, a folder of that name."""

    def __init__(self, path: object, reason: str) -> None:
        """Keep path and reason as separate arguments, so that the error can be pickled."""
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} cannot be written ({self.reason})"


class OfTheirs(VideoNLError):
    """An exception in the user's callback, logger or plugin; ``__cause__`` is that exception."""


class NotFiniteError(VideoNLError):
    """A network's outputs are NaN or infinite: no file is at fault, and no score is given."""


@contextmanager
def taking_clips(shape: Sequence[int]) -> Iterator[None]:
    """Say of a ValueError that a network raises that it cannot take such clips.

    Args:
        shape: of the clips, (B, C, T, H, W).

    Raises:
        VideoNLError: names the size, and the network's reason.
    """
    try:
        yield
    except VideoNLError:
        raise
    except ValueError as error:
        size = "x".join(map(str, shape[2:]))
        raise VideoNLError(
            f"the network cannot take clips of {size}: {first_line(error)}"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text; its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()


def one_line(error: BaseException, *, letters: int = 200) -> str:
    """The start of an error's text on one line; its type if it has none."""
    return " ".join(str(error).split())[:letters] or type(error).__name__


class Stopped(Exception):
    """The work was stopped by a signal; the text says how it can go on."""

    def __init__(self, message: str, *, signum: int) -> None:
        """Keep the sentence, and the exit code that shells expect for that signal."""
        super().__init__(message)
        self.signum, self.exit_code = signum, 128 + signum


_CONTINUED: ContextVar[str | None] = ContextVar("_CONTINUED", default=None)


@contextmanager
def continued_by(words: str) -> Iterator[None]:
    """Let messages say in these words how to go on, for a command that has no ``--resume``."""
    before = _CONTINUED.set(words)
    try:
        yield
    finally:
        _CONTINUED.reset(before)


def going_on(last: Path | None, *, nothing: str = "start again") -> str:
    """How to continue a training that ended early.

    Args:
        last: the checkpoint that it may have left.
        nothing: what to say if there is none.
    """
    resume = f"go on with --resume {as_word(last)}" if last and last.is_file() else nothing
    return _CONTINUED.get() or resume


# Sent by schedulers and containers, and by a terminal that is closed; not every system has both.
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived; handled like Ctrl-C, so that work stops in good order."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = 128 + signum


class Unforeseen(Exception):
    """An unexpected exception, a bug; ``__cause__`` is the exception itself.

    Args:
        folder: the folder of the run, in which the traceback is kept.
        words: a message for the user, where more is known than the exception's own text.
    """

    def __init__(self, folder: Path | None = None, words: str | None = None) -> None:
        super().__init__(folder, words)
        self.folder, self.words = folder, words


class OutputLost(BaseException):
    """Standard output cannot be written to; not an ``Exception``, since no input caused it.

    Args:
        error: why; a closed pipe (``| head``) is not reported.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.quiet = error.errno in (errno.EPIPE, errno.ESHUTDOWN)
        self.reason = f"standard output cannot be written: {error.strerror}"
