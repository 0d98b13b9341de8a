"""Validate, test and predict by a protocol, which is recorded in the result file."""

import csv
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from videonl.data import Record, VideoDataModule
from videonl.errors import VideoNLError
from videonl.escapes import json_text
from videonl.files import GrowingFile, csv_line, write_text
from videonl.models.view_ensembling import average_name, average_words
from videonl.shares import counted
from videonl.training.callbacks.bad_files import BadFiles, BatchByBatch
from videonl.training.callbacks.checkpoints import BROKEN_PIPE
from videonl.training.callbacks.progress import TerminalBar
from videonl.training.callbacks.stopping import plain_signals, raise_lost
from videonl.training.callbacks.summary import accuracy_lines, names_of, score_values
from videonl.training.callbacks.theirs import explained
from videonl.training.classifier import VideoClassifier
from videonl.training.metrics import TOP_K, Scores, add_up, of_all
from videonl.training.plots import plot_confusion
from videonl.training.task import AnyScores
from videonl.training.trainer import make_trainer

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)


class PredictionFile(Protocol):
    """A file for the predictions of one process."""

    def begin(self, paths: Sequence[str], *, rank: int, size: int) -> list[str]:
        """Open the file; returns the videos that this process has to do."""

    def add(self, path: str, probabilities: Sequence[float]) -> None:
        """Add a video."""

    def fail(self, path: str, reason: str) -> None:
        """Add a video that could not be read."""

    def close(self) -> None:
        """Close."""

    def finish(self, *, rank: int, size: int) -> None:
        """Called after all processes have closed their files."""


class CsvPredictions:
    """CSV with path, class and the probability of every class."""

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        self._path = path
        self._names = list(class_names)
        self._places: dict[str, int] = {}  # of all videos

    def begin(self, paths: Sequence[str], *, rank: int, size: int) -> list[str]:
        """Start a new file; returns every ``size``-th video."""
        self._places = {video: place for place, video in enumerate(paths)}
        path = self._part(rank) if size > 1 else self._path
        own = ("path", "class")
        scores = [f"{name} (score)" if name in own else name for name in self._names]
        self._file = GrowingFile(path, start=[csv_line([*own, *scores])])
        return list(paths[rank::size])

    def _part(self, rank: int) -> Path:
        return self._path.with_name(f"{self._path.stem}.{rank}{self._path.suffix}")

    def add(self, path: str, probabilities: Sequence[float]) -> None:
        """One row."""
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        values = (f"{value:.6g}" for value in probabilities)
        self._file.write(csv_line([path, self._names[best], *values]))

    def fail(self, path: str, reason: str) -> None:
        """Do nothing: such videos are listed at the end of the run."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def finish(self, *, rank: int, size: int) -> None:
        """Join the files of all processes, in the order of the videos.

        Raises:
            VideoNLError: a file is missing, such as on the disk of another machine.
        """
        if rank or size == 1:
            return
        parts = [self._part(number) for number in range(size)]
        try:
            with ExitStack() as stack:
                files = [
                    stack.enter_context(
                        part.open(encoding="utf-8", errors="surrogateescape", newline="")
                    )
                    for part in parts
                ]
                heads = [next(csv.reader(file)) for file in files]
                rows = merge(*map(csv.reader, files), key=lambda row: self._places[row[0]])
                write_text(self._path, map(csv_line, chain(heads[:1], rows)))
        except FileNotFoundError as error:
            raise VideoNLError(
                f"{self._path} cannot be written: {error.filename} is not on this machine; "
                "name a file in a folder that all processes can read"
            ) from error
        for part in parts:
            part.unlink(missing_ok=True)


class WritePredictions(BatchByBatch):
    """Writes every batch of ``trainer.predict`` to a file, without keeping it in memory.

    Args:
        file: where they go.
        paths: of the videos, by their index in the batches.
    """

    def __init__(self, file: PredictionFile, paths: Sequence[str]) -> None:
        self._file = file
        self._paths = paths
        self.count = 0

    def see(self, outputs: Any, batch: Any) -> None:
        """Write one batch."""
        for _, path, reason in batch.get("missing", ()):
            self._file.fail(path, reason)
        pairs = zip(outputs["index"].tolist(), outputs["probabilities"].tolist(), strict=True)
        for index, values in pairs:
            self._file.add(self._paths[index], values)
            self.count += 1


class Answers(BatchByBatch):
    """The most probable classes of every video of a test, over all processes once it has ended.

    Attributes:
        top: index of the video -> {class number: probability}, the most probable first.
    """

    def __init__(self) -> None:
        self.top: dict[int, dict[int, float]] = {}

    def see(self, outputs: Any, batch: Any) -> None:
        """Keep those of a batch; equal probabilities stay in the order of the classes."""
        if not len(outputs["index"]):
            return
        found = outputs["probabilities"].sort(dim=1, descending=True, stable=True)
        values, classes = (part[:, :TOP_K].tolist() for part in (found.values, found.indices))
        for index, row, numbers in zip(outputs["index"].tolist(), values, classes, strict=True):
            self.top[index] = dict(zip(numbers, row, strict=True))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect those of all processes."""
        self.top = {index: top for part in of_all(self.top) for index, top in part.items()}

    def rows(
        self, records: Sequence[Record], class_names: Sequence[str], missing: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Path, class (or classes) and answer of every video, in the order of the data set."""
        rows = []
        for index, record in enumerate(records):
            names = [class_names[number] for number in record.labels]
            top = {class_names[number]: p for number, p in self.top.get(index, {}).items()}
            row = {"path": str(record.path), "class": names[0] if len(names) == 1 else names}
            row |= {"predicted": next(iter(top), None), "probabilities": top}
            why = missing.get(str(record.path))
            rows.append(row if why is None else {**row, "unread": why})
        return rows


@dataclass(frozen=True)
class Evaluation:
    """What a pass over a split measured.

    Attributes:
        split: train, val or test.
        views: clips and crops per video.
        video: scores per video: the softmax averaged, or the largest sigmoid, over its views.
        clip: scores per view.
        missing: path -> reason, of the videos that could not be read; they count as wrong.
        protocol: how the videos were sampled and the views averaged.
        census: videos per class of the split.
        answers: path, class, predicted class and the most probable ones of every video.
    """

    split: str
    views: tuple[int, int]
    video: AnyScores
    clip: AnyScores
    missing: dict[str, str]
    protocol: dict[str, Any]
    census: dict[str, int]
    answers: list[dict[str, Any]]


def evaluation_trainer(options: Mapping[str, Any], *callbacks: Callback) -> Trainer:
    """A Trainer that only evaluates."""
    wanted = options.get("enable_progress_bar", True) and sys.stdout.isatty()
    bar = [TerminalBar()] if wanted else []
    return make_trainer(options, training=False, callbacks=[*callbacks, *bar])


def evaluate(
    classifier: VideoClassifier,
    data: VideoDataModule,
    *,
    split: str | None = None,
    views: tuple[int, int] | None = None,
    trainer_options: dict[str, Any] | None = None,
) -> Evaluation:
    """Measure the accuracy on a split.

    Args:
        classifier: with its weights.
        data: set up already.
        split: None: test where there is one, else val.
        views: (clips, crops); None: ``data.views``, or those by which it validates.
        trainer_options: of Lightning's ``Trainer``.
    """
    bad_files, answers = BadFiles(data.root), Answers()
    options = trainer_options or {}
    trainer = evaluation_trainer(options, bad_files, answers)
    data.trainer = trainer  # its loaders split the videos among the Trainer's processes
    data.preprocessing = data.preprocessing.with_colours(classifier.preprocessing)
    shown = data.preprocessing.with_views(views or data.views)
    split = split or ("test" if "test" in data.records else "val")
    loader = data.evaluation_loader(split, shown.views)
    with explained(options), plain_signals():
        try:
            trainer.test(classifier, dataloaders=loader, verbose=False, weights_only=True)
        except (RuntimeError, *BROKEN_PIPE) as error:
            raise_lost(error)
    average = average_name(multi_label=classifier.multi_label, average=shown.average)
    return Evaluation(
        split=split,
        views=shown.views,
        video=classifier.video_scores,
        clip=classifier.clip_scores,
        missing=bad_files.missing,
        protocol={
            "split": split,
            **shown.protocol(),
            "decoder": data.decoder,
            "average": average,
            "precision": trainer.precision,
            "devices": trainer.world_size,
        },
        census=data.census[split],
        answers=answers.rows(data.records[split], names_of(classifier), bad_files.missing),
    )


def describe(evaluation: Evaluation) -> str:
    """The printed lines: accuracy per clip and per video, with the number of views."""
    clips, crops = evaluation.views
    views = counted(clips * crops, "view")
    lines = [
        f"{evaluation.split}: {counted(evaluation.video.videos, 'video')}, {views} each "
        f"(clips × crops: {clips} × {crops}), {average_words(evaluation.protocol['average'])}",
        *accuracy_lines(evaluation.video, evaluation.clip),
    ]
    if evaluation.missing:
        lines.append(
            f"  {counted(len(evaluation.missing), 'video')} cannot be read and count as wrong"
        )
    return "\n".join(lines)


def result(evaluation: Evaluation, classifier: VideoClassifier, **about: Any) -> dict[str, Any]:
    """The result as JSON holds it.

    Args:
        evaluation: what was measured.
        classifier: of what.
        about: more entries, such as environment and checkpoint.
    """
    names = names_of(classifier)
    return {
        "model": {
            key: classifier.hparams[key] for key in ("name", "options", "provenance", "licence")
        },
        "protocol": evaluation.protocol,
        **score_values(evaluation.video, evaluation.clip, names),
        "census": {"videos_per_class": evaluation.census, "unreadable": evaluation.missing},
        **about,
        "videos": evaluation.answers,
    }


def draw_confusion(evaluation: Evaluation, classifier: VideoClassifier, path: Path) -> bool:
    """Draw the confusion matrix; False if videos have several labels, which have none."""
    video = evaluation.video
    if not isinstance(video, Scores):
        return False
    names, unread = names_of(classifier), video.unread_per_class
    plot_confusion(video.confusion, names, path, unread=unread)
    return True


def measured(evaluation: Evaluation, classifier: VideoClassifier) -> dict[str, Any]:
    """Protocol and scores of the additional evaluation."""
    figures = score_values(evaluation.video, evaluation.clip, names_of(classifier))
    return {"protocol": evaluation.protocol, **figures}


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a result file, every video of it on one line."""
    about = {key: value for key, value in content.items() if key != "videos"}
    videos = ",\n    ".join(json_text(video) for video in content["videos"])
    text = json_text(about, indent=2).removesuffix("\n}")
    write_text(path, f'{text},\n  "videos": [\n    {videos}\n  ]\n}}\n')


def predict(
    classifier: VideoClassifier,
    data: VideoDataModule,
    *,
    path: Path | None = None,
    file: PredictionFile | None = None,
    split: str | None = None,
    trainer_options: dict[str, Any] | None = None,
) -> tuple[int, int]:
    """Write the class and the probabilities of every video of a split, batch by batch.

    Every process takes a part of the videos and writes its own file; they are joined at the end.

    Args:
        classifier: with its weights.
        data: set up already.
        path: of a CSV; put together from ``NAME.RANK.csv`` where there are several processes.
        file: another kind of file instead.
        split: None: test where there is one, else val, else train.
        trainer_options: of Lightning's ``Trainer``.

    Returns:
        (videos written, videos that could not be read), of all processes.
    """
    if file is None:
        file = CsvPredictions(path or Path("predictions.csv"), names_of(classifier))
    bad_files = BadFiles(data.root)
    options = trainer_options or {}
    trainer = evaluation_trainer(options, bad_files)
    split = split or next(s for s in ("test", "val", "train") if s in data.records)
    records = {record.path: record for record in data.records[split]}
    paths = file.begin(list(records), rank=trainer.global_rank, size=trainer.world_size)
    writing = WritePredictions(file, paths)
    trainer.callbacks.append(writing)  # type: ignore[attr-defined]
    # The loader sees this process's videos only, which may be fewer than another's.
    data.trainer = None
    data.records = {**data.records, split: [records[path] for path in paths]}
    # A process that has nothing left to do still takes part: the others would wait for it.
    classifier.allow_zero_length_dataloader_with_multiple_devices = True
    loader: Any = DataLoader([])  # type: ignore[arg-type]
    with explained(options), plain_signals():
        try:
            if paths:
                loader = data.evaluation_loader(split, data.views)
            if paths or trainer.world_size > 1:
                trainer.predict(
                    classifier, dataloaders=loader, weights_only=True, return_predictions=False
                )
        except (RuntimeError, *BROKEN_PIPE) as error:
            raise_lost(error)
        finally:
            file.close()
    counts = torch.tensor([writing.count, len(bad_files.missing)])
    written, unread = add_up(counts.to(trainer.strategy.root_device)).tolist()
    file.finish(rank=trainer.global_rank, size=trainer.world_size)
    return written, unread
