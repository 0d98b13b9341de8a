"""Predictions of a whole data set, written as they come: every process its own file."""

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from lightning.pytorch import Callback, LightningModule, Trainer

from videonl.files import GrowingFile, csv_line


class PredictionFile(Protocol):
    """Where the predictions of one process go."""

    def begin(self, paths: Sequence[str], *, rank: int, size: int) -> list[str]:
        """Open; of all videos, those that this process has to do."""

    def add(self, path: str, probabilities: Sequence[float]) -> None:
        """Take up one video."""

    def fail(self, path: str, reason: str) -> None:
        """Take up a video that could not be read."""

    def close(self) -> None:
        """Close."""


class CsvPredictions:
    """path, class and the probability of every class; ``NAME.RANK.csv`` in several processes."""

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        self._path = path
        self._names = list(class_names)

    def begin(self, paths: Sequence[str], *, rank: int, size: int) -> list[str]:
        """Every ``size``-th video; the file starts afresh."""
        path = self._path
        if size > 1:
            path = path.with_name(f"{path.stem}.{rank}{path.suffix}")
        self._file = GrowingFile(path, start=[csv_line(["path", "class", *self._names])])
        return list(paths[rank::size])

    def add(self, path: str, probabilities: Sequence[float]) -> None:
        """One row."""
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        values = (f"{value:.6g}" for value in probabilities)
        self._file.write(csv_line([path, self._names[best], *values]))

    def fail(self, path: str, reason: str) -> None:
        """Left out; the run names it at the end."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class WritePredictions(Callback):
    """Hands every batch of ``trainer.predict`` to a file; keeps nothing in memory.

    Args:
        file: where they go.
        paths: of the videos, by their index in the batches.
    """

    def __init__(self, file: PredictionFile, paths: Sequence[str]) -> None:
        self._file = file
        self._paths = paths
        self.count = 0

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write one batch."""
        for _, path, reason in batch.get("missing", ()):
            self._file.fail(path, reason)
        pairs = zip(outputs["index"].tolist(), outputs["probabilities"].tolist(), strict=True)
        for index, values in pairs:
            self._file.add(self._paths[index], values)
            self.count += 1
