"""The parent's side of a decoding process: a line of JSON asks, a line and an array answer."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from videonl.errors import VideoNLError

MODULE = "videonl.video.sandbox.worker"
START_SECONDS = 120.0  # on a machine that is very busy
LONGEST_LINE = 1 << 20
PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031  # fcntl.F_SETPIPE_SZ, Linux


class ChildGoneError(Exception):
    """The process ended, or was ended, before it answered; the text states the reason."""


class Child:
    """One decoding process.

    Args:
        memory_mb: memory that its work may take; 0: no limit.
        may_write: whether it may write files.

    Attributes:
        files: how many it has opened.

    Raises:
        VideoNLError: it cannot be started.
    """

    def __init__(self, memory_mb: int, *, may_write: bool = False) -> None:
        package = str(Path(__file__).resolve().parents[3])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(
                # -P: a numpy.py in the current folder is not ours
                [sys.executable, "-P", "-m", MODULE, str(memory_mb), str(int(may_write))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **environment},
            )
        except OSError as error:
            raise VideoNLError(f"no decoding process can be started ({error})") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        _widen(self._output.fileno())
        self._most_bytes = memory_mb << 20
        self._ready = False
        self._end: str | None = None  # why we ended it
        self.files = 0

    @property
    def alive(self) -> bool:
        """Whether it still runs and nobody decided to end it."""
        return self._end is None and self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait for its imports.

        Raises:
            VideoNLError: it does not start.
        """
        if self._ready:
            return
        try:
            with _Watch(self, START_SECONDS):
                self._ready = bool(self._header().get("ready"))
        except ChildGoneError as error:
            self.kill()
            raise VideoNLError(
                f"the decoding process does not start ({error}); to see why, run: {sys.executable} "
                f"-m {MODULE} 0 0; infer.py --no-isolate decodes in its own process"
            ) from None

    def ask(
        self,
        job: dict[str, Any],
        *,
        seconds: float | None,
        rows: int | None = None,
        dtype: type = np.uint8,
    ) -> tuple[dict[str, Any], np.ndarray | None, float]:
        """Send a job and wait for its answer.

        Args:
            job: a value that JSON can hold.
            seconds: how long it may take, then the process is killed; None: any time.
            rows: an array with so many rows follows the answer; None: no array.
            dtype: of the array.

        Returns:
            The answer, the array (None where there is none), and the seconds it took.

        Raises:
            ChildGoneError: ``"timeout"``, ``"memory"``, or a clause that says what happened.
        """
        start = time.monotonic()
        line = json.dumps({**job, "seconds": seconds or 0}).encode("ascii") + b"\n"
        with _Watch(self, seconds):
            try:
                self._input.write(line)
                self._input.flush()
            except (OSError, ValueError):
                raise ChildGoneError(self._why()) from None
            header = self._header()
            array = None
            if rows is not None and "shape" in header:
                array = self._array(header["shape"], rows, dtype)
        if header.get("failed") == "memory":
            self.kill()
            raise ChildGoneError("memory")
        return header, array, time.monotonic() - start

    def _header(self) -> dict[str, Any]:
        try:
            header = json.loads(self._output.readline(LONGEST_LINE))
        except (OSError, ValueError):
            raise ChildGoneError(self._why()) from None
        if not isinstance(header, dict):
            raise ChildGoneError(self._why())
        return header

    def _array(self, shape: Any, rows: int, dtype: type) -> np.ndarray:
        """Read an array; a process that decoded a hostile file is not trusted either."""
        usual = (
            isinstance(shape, list)
            and all(isinstance(size, int) and size >= 0 for size in shape)
            and shape[:1] == [rows]
            and (shape[3:] == [3] if dtype is np.uint8 else len(shape) == 1)
        )
        size = math.prod(shape) * np.dtype(dtype).itemsize if usual else 0
        if not usual or (self._most_bytes and size > self._most_bytes):
            self.kill()
            raise ChildGoneError("the decoding process sent an invalid answer")
        array = np.empty(shape, dtype)
        view = array.reshape(-1).view(np.uint8).data
        while len(view):
            try:
                count = self._output.readinto(view)  # type: ignore[attr-defined]
            except (OSError, ValueError):
                count = 0
            if not count:
                raise ChildGoneError(self._why())
            view = view[count:]
        return array

    def _why(self) -> str:
        """Why no answer came; ends what is left of the process."""
        if self._end is None:
            with suppress(subprocess.TimeoutExpired):  # its pipe is closed: it is about to end
                self._process.wait(timeout=2.0)
        code = self._process.poll()
        self.kill()
        if self._end:
            return self._end
        if code is None:
            return "the decoding process sent an invalid answer"
        if code == -getattr(signal, "SIGALRM", 0):
            return "timeout"
        if code == -getattr(signal, "SIGKILL", 0):
            return "its decoding process was killed by the system, perhaps for lack of memory"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"it crashes the decoder ({name})"

    def expire(self) -> None:
        """End the process because its time is up."""
        self._stop("timeout")

    def cancel(self) -> None:
        """End the process because nobody waits for the answer any more."""
        self._stop("decoding was stopped")

    def _stop(self, why: str) -> None:
        self._end = self._end or why
        self._process.kill()

    def kill(self) -> None:
        """End the process, whatever it does, and close its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._input, self._output):
            with suppress(OSError, ValueError):  # bytes that were never sent
                pipe.close()


class _Watch:
    """Ends a child if the block takes too long."""

    def __init__(self, child: Child, seconds: float | None) -> None:
        self._timer = None
        if seconds is not None:
            self._timer = threading.Timer(max(seconds, 0.0), child.expire)
            self._timer.daemon = True

    def __enter__(self) -> None:
        if self._timer:
            self._timer.start()

    def __exit__(self, *error: object) -> None:
        if self._timer:
            self._timer.cancel()


def _widen(pipe: int) -> None:
    """Enlarge a pipe, so that a frame takes fewer switches between the processes (Linux)."""
    try:
        import fcntl

        fcntl.fcntl(pipe, _SET_PIPE_SIZE, PIPE_BYTES)
    except (ImportError, OSError):
        pass
