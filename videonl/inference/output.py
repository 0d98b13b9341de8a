"""Where predictions go: files that are valid at every moment. Here JSON; beside it, lines.

Every writer can take up an output that is already there (``resume``): it keeps the predictions,
forgets the failures, so that those files are tried again, and refuses the work of another
checkpoint or protocol.
"""

import json
import os
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

from videonl._version import __version__
from videonl.errors import VideoNLError
from videonl.escapes import json_text
from videonl.inference.prediction import Failure, Prediction

WRITE_EVERY = 5.0  # seconds between two writes of a growing JSON file, at least
WRITE_SHARE = 0.05  # and at most this share of the time is spent on writing


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    Args:
        path: of the file; its folder is made.
        text: the content, or its parts, which may still be read from the old file.

    Raises:
        VideoNLError: the file can not be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise VideoNLError(f"{path} can not be written ({error.strerror})") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.writelines([text] if isinstance(text, str) else text)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files
        os.replace(temporary, path)
    except OSError as error:  # a full disk, or a folder of that name
        os.unlink(temporary)
        raise VideoNLError(f"{path} can not be written ({error.strerror})") from error
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class Writer(ABC):
    """One output; ``done`` holds the paths whose predictions it already has."""

    def __init__(self, path: Path, *, run: dict[str, object]) -> None:
        self.path = path
        self.run = run
        self.done: set[str] = set()

    @abstractmethod
    def add(self, prediction: Prediction) -> None:
        """Take up one prediction."""

    @abstractmethod
    def fail(self, failure: Failure) -> None:
        """Take up one file that failed."""

    @abstractmethod
    def close(self) -> None:
        """Write what is not yet written."""

    def _refuse_other_run(self, model: object, protocol: object) -> None:
        """Raise if the output was made by another checkpoint or protocol."""
        for name, ours, theirs in (
            ("checkpoint", self.run["model"], model),
            ("protocol", self.run["protocol"], protocol),
        ):
            if ours != theirs:
                raise VideoNLError(
                    f"{self.path} was made with another {name}: "
                    "leave out --resume to overwrite it, or give another file name"
                )


class JsonWriter(Writer):
    """One JSON object: videonl, model, protocol, predictions, failures; replaced as a whole.

    Args:
        path: the file; None prints the object on standard output when it is closed.
        run: {"model": ..., "protocol": ...}, the same for all predictions.
        resume: keep the predictions that the file already holds.
    """

    def __init__(self, path: Path | None, *, run: dict[str, object], resume: bool = False) -> None:
        super().__init__(path or Path("-"), run=run)
        self._to_stdout = path is None
        self._predictions: list[object] = []
        self._failures: list[object] = []
        self._next_write = time.monotonic() + WRITE_EVERY
        if resume and path is not None and path.exists():
            self._take_up(path)
        if path is not None:  # a place that can not be written is known now, not after hours
            write_atomically(path, self._text())

    def _take_up(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            predictions = content["predictions"]
            self.done = {entry["path"] for entry in predictions}
        except (ValueError, KeyError, TypeError) as error:
            raise VideoNLError(
                f"{path} is not an output of videonl: --resume can not continue it"
            ) from error
        self._refuse_other_run(content.get("model"), content.get("protocol"))
        self._predictions = predictions

    def add(self, prediction: Prediction) -> None:
        """Take up one prediction; write now and then."""
        if prediction.path not in self.done:
            self.done.add(prediction.path)
            self._predictions.append(prediction.result())
        self._write_now_and_then()

    def fail(self, failure: Failure) -> None:
        """Take up one file that failed."""
        self._failures.append(failure.as_dict())
        self._write_now_and_then()

    def _write_now_and_then(self) -> None:
        start = time.monotonic()
        if not self._to_stdout and start >= self._next_write:
            write_atomically(self.path, self._text())
            end = time.monotonic()
            self._next_write = end + max(WRITE_EVERY, (end - start) / WRITE_SHARE)

    def _text(self) -> str:
        head = json_text({"videonl": __version__, **self.run}, indent=1)
        parts = [head.removesuffix("\n}")]  # one line per file below: long, but it greps
        for name, entries in (("predictions", self._predictions), ("failures", self._failures)):
            lines = ",\n".join("  " + json_text(entry) for entry in entries)
            parts.append(f' "{name}": [\n{lines}\n ]' if lines else f' "{name}": []')
        return ",\n".join(parts) + "\n}\n"

    def close(self) -> None:
        """Write the object."""
        if self._to_stdout:
            sys.stdout.write(self._text())
        else:
            write_atomically(self.path, self._text())
