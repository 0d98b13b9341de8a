"""The errors for bad input: one sentence that names the culprit and the way out.

They are all ``ValueError``, so that library users can catch what they know; the entry points print
the sentence without a traceback and exit with 2.
"""

import signal
from pathlib import Path


class VideoNLError(ValueError):
    """Bad input: an argument, a file or a configuration that videonl cannot use as it is."""


class VideoError(VideoNLError):
    """A video file that cannot be read: missing, not a video, truncated, no video stream."""


class DatasetError(VideoNLError):
    """A data set whose layout, labels or census does not allow what was asked."""


class CheckpointError(VideoNLError):
    """A checkpoint that is missing, unsafe, of an unknown format or does not fit the network."""


class OutputError(VideoNLError):
    """A file that cannot be written: no permission, a full disk, a folder of that name."""

    def __init__(self, path: object, reason: str) -> None:
        """Keep the path and the reason, which a worker process hands on by its arguments."""
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} cannot be written ({self.reason})"


class OfTheirs(VideoNLError):
    """A callback, logger or plugin that the user brought raised; the cause is its own error."""


class NotFiniteError(VideoNLError):
    """A network answers with NaN or infinity: no file is to blame, and no score may come of it."""


class Stopped(Exception):
    """The work was stopped by a signal; the text says where it can go on from."""

    def __init__(self, message: str, *, signum: int) -> None:
        """Keep the sentence, and the exit code that shells expect of that signal."""
        super().__init__(message)
        self.signum, self.exit_code = signum, 128 + signum


# What a scheduler or container, and a terminal that is closed, say; not every system has both.
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: whatever stops in good order for Ctrl-C does so for them."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = 128 + signum


class Unforeseen(Exception):
    """A fault that nobody foresaw; its cause is the error itself.

    Args:
        folder: of the run in which it happened: the trace is kept there.
        words: what to say of it, where more is known than the error's own words.
    """

    def __init__(self, folder: Path | None = None, words: str | None = None) -> None:
        super().__init__(folder, words)
        self.folder, self.words = folder, words
