"""Private temporary files for videos that come as bytes; decoding processes open them by path."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

PREFIX = "videonl-spool-"


class Spool:
    """Makes private temporary files.

    On Linux they have no name: the system frees them when they are closed and when this process
    ends, even by ``kill -9``. Elsewhere they lie in a folder that only this user can read, which
    :meth:`close` removes; what a killed server left is removed by the next one.
    """

    def __init__(self, *, nameless: bool | None = None) -> None:
        self._nameless = _can_be_nameless() if nameless is None else nameless
        self.folder: Path | None = None
        if not self._nameless:
            _sweep(Path(tempfile.gettempdir()))
            self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))

    def new(self) -> "SpoolFile":
        """An empty file."""
        if self._nameless:
            handle: IO[bytes] = tempfile.TemporaryFile(prefix=PREFIX)  # noqa: SIM115
            return SpoolFile(handle, f"/proc/{os.getpid()}/fd/{handle.fileno()}")
        number, path = tempfile.mkstemp(dir=self.folder)
        return SpoolFile(os.fdopen(number, "w+b"), path, named=True)

    def close(self) -> None:
        """Remove the folder."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


class SpoolFile:
    """One temporary file; ``path`` opens it, in other processes of this user too."""

    def __init__(self, handle: IO[bytes], path: str, *, named: bool = False) -> None:
        self.handle, self.path, self._named = handle, path, named

    def close(self) -> None:
        """Delete it."""
        self.handle.close()
        if self._named:
            Path(self.path).unlink(missing_ok=True)

    def __enter__(self) -> "SpoolFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _can_be_nameless() -> bool:
    if not os.path.isdir("/proc/self/fd"):
        return False
    with tempfile.TemporaryFile() as handle:
        handle.write(b"x")
        handle.flush()
        try:
            path = f"/proc/{os.getpid()}/fd/{handle.fileno()}"
            return Path(path).read_bytes() == b"x"
        except OSError:
            return False


def _sweep(folder: Path) -> None:
    """Remove what killed servers left behind."""
    for left in folder.glob(f"{PREFIX}*-*"):
        number = left.name.removeprefix(PREFIX).partition("-")[0]
        if number.isdecimal() and not _alive(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(process: int) -> bool:
    if os.name == "nt":  # there os.kill(process, 0) would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
