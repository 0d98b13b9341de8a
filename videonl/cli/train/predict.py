"""``train.py predict``: every video of a split, over any number of processes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videonl.claims import claimed, is_first_process
from videonl.cli.terminal import words_apart
from videonl.cli.train.errors import clear_errors
from videonl.cli.train.evaluate import checkpoint_of, inputs_of, prepare, results_of
from videonl.cli.train.settings import read_settings
from videonl.errors import VideoNLError
from videonl.escapes import as_word
from videonl.shares import counted

if TYPE_CHECKING:  # torch and Lightning take seconds to import: not for --help
    from videonl.training.classifier import VideoClassifier
    from videonl.training.evaluation import PredictionFile

TOP_K = 5


def predict_command(command: str, argv: Sequence[str]) -> int:
    """Write class and probabilities of every video."""
    settings, given = read_settings(command, argv)
    lines = settings["json"]
    if lines and not lines.endswith(".jsonl"):
        raise VideoNLError(
            f"--json {lines}: predict writes JSON Lines; give a name that ends in .jsonl"
        )
    if lines and settings["csv"]:
        raise VideoNLError("predict writes one file: give --csv or --json, and leave out the other")
    with words_apart(settings["csv"]):
        return write_predictions(settings, given)


def write_predictions(settings: dict[str, Any], given: dict[str, Any]) -> int:
    """Classify, write and print what was written; exit code 1 if a video failed."""
    lines = settings["json"]
    from videonl.cli.train.parser import trainer_options
    from videonl.training.evaluation import predict

    checkpoint = checkpoint_of(settings)
    data, classifier, _ = prepare(settings, given, checkpoint, labelled=False)
    path = Path(settings["csv"] or results_of(settings, checkpoint, "_predictions.csv"))
    file: PredictionFile | None = None
    if lines:
        path = Path(lines)
        file = JsonLines(path, run=run_of(classifier, data, checkpoint), classifier=classifier)
    reads = inputs_of(settings, checkpoint)
    with claimed(path if is_first_process() else None, reads=reads), clear_errors(settings):
        count, unread = predict(
            classifier,
            data,
            path=path,
            file=file,
            split=settings["split"],
            trainer_options=trainer_options(settings["trainer"]),
        )
    if file is not None and not path.exists():
        merge = f"videonl merge {as_word(path)}"
        print(f"{counted(count, 'video')}: {path.stem}.*{path.suffix}; {merge} joins them")
    else:
        print(f"{counted(count, 'video')}: {path}")
    return 1 if unread else 0


def run_of(classifier: "VideoClassifier", data: Any, checkpoint: Path) -> dict[str, object]:
    """What must be the same in all files that belong together."""
    from videonl.inference.network import origin_of
    from videonl.models.view_ensembling import average_name

    shown = classifier.preprocessing
    average = average_name(multi_label=classifier.multi_label, average=shown.average)
    model = {"name": classifier.hparams["name"], "num_classes": classifier.num_classes}
    return {
        "model": {**model, **origin_of(checkpoint, {})},
        "protocol": {**shown.protocol(), "decoder": data.decoder, "average": average},
    }


class JsonLines:
    """JSON Lines as of ``videonl predict``, one file per process; a repeated run continues.

    Args:
        path: ``out.jsonl``; in several processes ``out.00000.jsonl``, ..., for ``videonl merge``.
        run: see ``run_of``.
        classifier: knows the class names.
    """

    def __init__(
        self, path: Path, *, run: dict[str, object], classifier: "VideoClassifier"
    ) -> None:
        self._path = path
        self._run = run
        self._names = classifier.class_names or [
            f"class {index}" for index in range(classifier.num_classes)
        ]

    def begin(self, paths: Sequence[str], *, rank: int, size: int) -> list[str]:
        """Open; the videos of this process that no file holds yet."""
        from videonl.inference.shards import done_by_others
        from videonl.inference.writers import JsonLinesWriter
        from videonl.shards import Shard, about_set, shard_path

        shard = Shard(rank, size)
        own = shard_path(self._path, rank) if size > 1 else self._path
        about = about_set(shard, paths, failed_inputs=0) if size > 1 else None
        self._writer = JsonLinesWriter(own, run=self._run, resume=True, about=about)
        done = set(self._writer.done)
        if size > 1:
            done |= done_by_others(self._path, rank, run=self._run)
        return [path for path in shard.of(paths) if path not in done]

    def add(self, path: str, probabilities: Sequence[float]) -> None:
        """One line: the most probable classes."""
        from videonl.inference.prediction import Prediction

        order = sorted(range(len(probabilities)), key=lambda k: -probabilities[k])[:TOP_K]
        classes = tuple(self._names[k] for k in order)
        values = tuple(float(probabilities[k]) for k in order)
        self._writer.add(Prediction(path, classes, values, (), {}, {}))

    def fail(self, path: str, reason: str) -> None:
        """One line."""
        from videonl.inference.prediction import Failure

        self._writer.fail(Failure(path, reason))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def finish(self, *, rank: int, size: int) -> None:
        """Do nothing: ``videonl merge`` joins the files."""
