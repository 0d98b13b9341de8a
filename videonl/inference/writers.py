"""Outputs of predictions: files that are valid at every moment.

Every writer can continue an output that exists (``resume``): it keeps the predictions, drops the
failures, so that those files are tried again, and refuses an output of another checkpoint or
protocol.

JSON is written as a whole, again and again. JSON Lines and CSV grow line by line: every line is
written at once and nothing before it is touched again, so a run that is killed loses at most the
line it was writing; a run that goes on drops that half line.
"""

import csv
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from videonl import __version__
from videonl.errors import VideoNLError
from videonl.escapes import json_text, parse_json
from videonl.files import GrowingFile, csv_line, is_stream, write_text
from videonl.inference.prediction import Failure, Prediction

WRITE_EVERY = 5.0  # seconds between two writes of a growing JSON file, at least
WRITE_SHARE = 0.05  # and at most this share of the time is spent on writing


class Writer(ABC):
    """One output; ``done`` holds the paths whose predictions it already has."""

    def __init__(self, path: Path, *, run: dict[str, object]) -> None:
        self.path = path
        self.run = run
        self.done: set[str] = set()

    @abstractmethod
    def add(self, prediction: Prediction) -> None:
        """Add one prediction."""

    @abstractmethod
    def fail(self, failure: Failure) -> None:
        """Add one file that failed."""

    @abstractmethod
    def close(self) -> None:
        """Write what is not yet written."""

    def _not_ours(self) -> VideoNLError:
        return VideoNLError(f"{self.path} is not an output of videonl: --resume cannot continue it")

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
        # A pipe gets the object once, when it is complete.
        self._at_end = path is None or is_stream(path)
        self._predictions: list[object] = []
        self._failures: list[object] = []
        self._next_write = time.monotonic() + WRITE_EVERY
        if resume and not self._at_end and self.path.exists():
            self._take_up()
        if not self._at_end:  # an output that cannot be written is an error now, not after hours
            write_text(self.path, self._text())

    def _take_up(self) -> None:
        try:
            content = parse_json(self.path.read_text(encoding="utf-8"))
            predictions = content["predictions"]
            self.done = {entry["path"] for entry in predictions}
        except (ValueError, KeyError, TypeError) as error:
            raise self._not_ours() from error
        self._refuse_other_run(content.get("model"), content.get("protocol"))
        self._predictions = predictions

    def add(self, prediction: Prediction) -> None:
        """Add one prediction; write now and then."""
        if prediction.path not in self.done:
            self.done.add(prediction.path)
            self._predictions.append(prediction.result())
        self._write_now_and_then()

    def fail(self, failure: Failure) -> None:
        """Add one file that failed."""
        self._failures.append(failure.as_dict())
        self._write_now_and_then()

    def _write_now_and_then(self) -> None:
        start = time.monotonic()
        if not self._at_end and start >= self._next_write:
            write_text(self.path, self._text())
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
            write_text(self.path, self._text())


class _LineWriter(Writer):
    """An output that grows line by line."""

    def __init__(self, path: Path, *, run: dict[str, object], resume: bool) -> None:
        super().__init__(path, run=run)
        old = resume and not is_stream(path) and path.exists()
        kept = self._kept_lines() if old else iter(())
        self._file = GrowingFile(path, start=chain((self._header(),), kept))

    @abstractmethod
    def _header(self) -> str:
        """The first line."""

    @abstractmethod
    def _kept_lines(self) -> Iterator[str]:
        """The good predictions of the existing output; fills ``done``."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonLinesWriter(_LineWriter):
    """One JSON object per line and file; the first line holds videonl, model and protocol.

    Args:
        path: the file.
        run: {"model": ..., "protocol": ...}, the same for all predictions.
        resume: keep the predictions that the file already holds.
        about: more for the first line; it may differ when a run goes on.
    """

    def __init__(
        self,
        path: Path,
        *,
        run: dict[str, object],
        resume: bool = False,
        about: dict[str, object] | None = None,
    ) -> None:
        self._about = dict(about or {})
        super().__init__(path, run=run, resume=resume)

    def _header(self) -> str:
        return json_text({"videonl": __version__, **self.run, **self._about}) + "\n"

    def _kept_lines(self) -> Iterator[str]:
        lines = read_lines(self.path)
        _, _, header = next(lines, (0, "", {}))
        if "protocol" not in header:
            raise self._not_ours()
        self._refuse_other_run(header.get("model"), header["protocol"])
        for _, line, entry in lines:
            if is_prediction(entry) and entry["path"] not in self.done:
                self.done.add(entry["path"])
                yield line

    def add(self, prediction: Prediction) -> None:
        """Append one prediction."""
        if prediction.path not in self.done:
            self.done.add(prediction.path)
            self._file.write(json_text(prediction.result()) + "\n")

    def fail(self, failure: Failure) -> None:
        """Append one failure."""
        self._file.write(json_text(failure.as_dict()) + "\n")


def read_lines(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Every complete line of a JSON Lines file: (byte offset, line, object).

    The half line of a killed run is skipped: a line without its end, or one that is not JSON.
    """
    offset = 0
    with path.open("rb") as file:
        for raw in file:
            line = raw.decode("utf-8", errors="surrogateescape")
            try:
                entry = parse_json(line)
            except ValueError:
                entry = None
            if isinstance(entry, dict) and line.endswith("\n"):
                yield offset, line, entry
            offset += len(raw)


def is_prediction(entry: dict[str, Any]) -> bool:
    """Whether a line holds a prediction, and not a header or a failure."""
    return isinstance(entry.get("path"), str) and "classes" in entry


class CsvRows:
    """path, model, views, error, class_1, probability_1, class_2, ...: one row per file."""

    def __init__(self, run: Mapping[str, Any], *, top_k: int) -> None:
        model = run["model"]
        digest = str(model.get("sha256") or "")[:12]
        self.model = " ".join(filter(None, (str(model["name"]), digest)))
        self.views = str(run["protocol"]["views"])
        self.columns = ["path", "model", "views", "error"]
        for rank in range(1, top_k + 1):
            self.columns += [f"class_{rank}", f"probability_{rank}"]

    def row(self, path: str, *, error: str = "", classes: Iterable[tuple[str, float]] = ()) -> str:
        """The line of a file: its (class, probability), or why there are none."""
        cells = [path, self.model, self.views, error]
        for name, probability in classes:
            cells += [name, f"{probability:.6f}"]
        return csv_line([*cells, *[""] * (len(self.columns) - len(cells))])


class CsvWriter(_LineWriter):
    """``CsvRows`` in a file."""

    def __init__(
        self, path: Path, *, run: dict[str, object], top_k: int, resume: bool = False
    ) -> None:
        self._rows = CsvRows(run, top_k=top_k)
        super().__init__(path, run=run, resume=resume)

    def _header(self) -> str:
        return csv_line(self._rows.columns)

    def _kept_lines(self) -> Iterator[str]:
        try:
            yield from self._kept_rows()
        except csv.Error as error:  # a line of 131,072 letters
            raise self._not_ours() from error

    def _kept_rows(self) -> Iterator[str]:
        with self.path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            # The half line of a killed run may have all its cells.
            rows = csv.reader(line for line in file if line.endswith(("\n", "\r")))
            header = next(rows, [])
            if header != self._rows.columns:
                raise VideoNLError(
                    f"{self.path} has other columns than this run would write: --resume needs the "
                    "same --top-k, or leave it out to overwrite the file"
                )
            for cells in rows:
                if len(cells) != len(header) or cells[3]:
                    continue
                self._refuse_other_row(cells)
                if cells[0] not in self.done:
                    self.done.add(cells[0])
                    yield csv_line(cells)

    def _refuse_other_row(self, cells: list[str]) -> None:
        same_model = self.run["model"] if cells[1] == self._rows.model else cells[1]
        same_views = self.run["protocol"] if cells[2] == self._rows.views else cells[2]
        self._refuse_other_run(same_model, same_views)

    def add(self, prediction: Prediction) -> None:
        """Append one prediction."""
        if prediction.path not in self.done:
            self.done.add(prediction.path)
            classes = zip(prediction.classes, prediction.probabilities, strict=True)
            self._file.write(self._rows.row(prediction.path, classes=classes))

    def fail(self, failure: Failure) -> None:
        """Append one failure."""
        self._file.write(self._rows.row(failure.path, error=failure.error))
