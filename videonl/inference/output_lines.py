"""Predictions line by line, for any number of files: JSON Lines and CSV.

Every line is handed to the system at once and nothing before it is touched again, so a run that is
killed loses at most the line it was writing; a run that goes on drops that half line.
"""

import csv
import json
from abc import abstractmethod
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from videonl._version import __version__
from videonl.errors import VideoNLError
from videonl.escapes import json_text
from videonl.inference.output import Writer, write_atomically
from videonl.inference.prediction import Failure, Prediction


class _LineWriter(Writer):
    """An output that grows line by line."""

    def __init__(self, path: Path, *, run: dict[str, object], resume: bool) -> None:
        super().__init__(path, run=run)
        kept = self._kept_lines() if resume and path.exists() else iter(())
        write_atomically(path, chain((self._header(),), kept))
        self._file: TextIO = path.open("a", encoding="utf-8", errors="surrogateescape", newline="")

    @abstractmethod
    def _header(self) -> str:
        """The first line."""

    @abstractmethod
    def _kept_lines(self) -> Iterator[str]:
        """The good predictions of the output that is there; fills ``done``."""

    def _write(self, line: str) -> None:
        self._file.write(line)
        self._file.flush()

    def _not_ours(self) -> VideoNLError:
        return VideoNLError(
            f"{self.path} is not an output of videonl: --resume can not continue it"
        )

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
            self._write(json_text(prediction.result()) + "\n")

    def fail(self, failure: Failure) -> None:
        """Append one failure."""
        self._write(json_text(failure.as_dict()) + "\n")


def read_lines(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Every whole line of a JSON Lines file: (byte offset, line, object).

    What a killed run left half written is skipped: a line without its end, or one that is no JSON.
    """
    offset = 0
    with path.open("rb") as file:
        for raw in file:
            line = raw.decode("utf-8", errors="surrogateescape")
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            if isinstance(entry, dict) and line.endswith("\n"):
                yield offset, line, entry
            offset += len(raw)


def is_prediction(entry: dict[str, Any]) -> bool:
    """Whether a line holds a prediction, and not a header or a failure."""
    return isinstance(entry.get("path"), str) and "classes" in entry


class CsvWriter(_LineWriter):
    """path, model, views, error, class_1, probability_1, class_2, ...: one row per file."""

    def __init__(
        self, path: Path, *, run: dict[str, object], top_k: int, resume: bool = False
    ) -> None:
        model, protocol = run["model"], run["protocol"]
        assert isinstance(model, dict)
        assert isinstance(protocol, dict)
        digest = str(model.get("sha256") or "")[:12]
        self._model = " ".join(filter(None, (str(model["name"]), digest)))
        self._views = str(protocol["views"])
        self._columns = ["path", "model", "views", "error"]
        for rank in range(1, top_k + 1):
            self._columns += [f"class_{rank}", f"probability_{rank}"]
        super().__init__(path, run=run, resume=resume)

    def _line(self, cells: list[object]) -> str:
        cells += [""] * (len(self._columns) - len(cells))
        row = _Row()
        csv.writer(row).writerow(cells)
        return row.text

    def _header(self) -> str:
        return self._line(list(self._columns))

    def _kept_lines(self) -> Iterator[str]:
        with self.path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if header != self._columns:
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
                    yield self._line(list(cells))

    def _refuse_other_row(self, cells: list[str]) -> None:
        same_model = self.run["model"] if cells[1] == self._model else cells[1]
        same_views = self.run["protocol"] if cells[2] == self._views else cells[2]
        self._refuse_other_run(same_model, same_views)

    def add(self, prediction: Prediction) -> None:
        """Append one prediction."""
        if prediction.path in self.done:
            return
        self.done.add(prediction.path)
        cells: list[object] = [prediction.path, self._model, self._views, ""]
        for name, probability in zip(prediction.classes, prediction.probabilities, strict=True):
            cells += [name, f"{probability:.6f}"]
        self._write(self._line(cells))

    def fail(self, failure: Failure) -> None:
        """Append one failure."""
        self._write(self._line([failure.path, self._model, self._views, failure.error]))


class _Row:
    """A file for ``csv.writer`` that keeps the last row as text."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text
