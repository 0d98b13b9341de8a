"""``metrics.csv`` of a run: one row per logged step; a resumed run appends to it."""

import csv
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from videonl.files import GrowingFile, csv_line, write_text

METRICS_FILE = "metrics.csv"


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics file, without its empty cells; none where there is no file.

    A row that a kill cut off in the middle is left out.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        lines = file.read().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    return [
        {key: float(value) for key, value in row.items() if value} for row in csv.DictReader(whole)
    ]


class MetricsFile(Logger):
    """Writes ``metrics.csv``; Lightning's own CSV logger deletes the old rows on resuming.

    Args:
        folder: of the run.
        resume_step: rows from this step on are dropped, since they will be measured again. None
            starts a new file.
    """

    def __init__(self, folder: Path, *, resume_step: int | None = None) -> None:
        super().__init__()
        self.path = folder / METRICS_FILE
        self._columns = ["step"]
        self._rows: list[dict[str, float]] = []
        if resume_step is not None:
            self._rows = [row for row in read_metrics(self.path) if row["step"] < resume_step]
        self._written = False  # whether the file on disk has our columns and rows

    @property
    def name(self) -> str:
        """No sub-folder."""
        return ""

    @property
    def version(self) -> str:
        """No sub-folder."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder of the run."""
        return str(self.path.parent)

    @property
    def log_dir(self) -> str:
        """The folder of the run."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Nothing: ``config.yaml`` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write a row."""
        row = {"step": float(step or 0)} | {key: float(value) for key, value in metrics.items()}
        self._rows.append(row)
        columns = list(dict.fromkeys([*self._columns, *(key for r in self._rows for key in r)]))
        if columns != self._columns or not self._written:
            self._columns = columns
            self._rewrite()
            return
        file = GrowingFile(self.path)
        file.write(self._line(self._text(row).get))
        file.close()

    def _rewrite(self) -> None:
        lines = [self._line(str), *(self._line(self._text(row).get) for row in self._rows)]
        write_text(self.path, lines)
        self._written = True

    def _line(self, cell: Callable[[str], object]) -> str:
        return csv_line((cell(column) for column in self._columns), end="\n")

    @staticmethod
    def _text(row: Mapping[str, float]) -> dict[str, str]:
        return {key: f"{value:.10g}" for key, value in row.items()}
