"""``summary.md`` at the end of a training: figures, curves, per-class accuracy, confusion."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from videonl.data import Record
from videonl.escapes import markdown_row, markdown_text
from videonl.files import write_text
from videonl.shares import accuracy, counted, percent, wilson_of
from videonl.training.callbacks.checkpoints import Checkpoints
from videonl.training.callbacks.metrics_file import METRICS_FILE, read_metrics
from videonl.training.classes import balanced_weights
from videonl.training.metrics import TOP_K, MultiLabelScores, Scores
from videonl.training.plots import plot_confusion, plot_curves
from videonl.training.signs import Course, constant_loss, course_of, signs_of
from videonl.training.task import AnyScores

SUMMARY, CURVES, CONFUSION = "summary.md", "curves.png", "confusion.png"
WILSON = "95 % confidence interval (Wilson), for other videos of the same kind"


def loss_text(scores: AnyScores) -> str:
    """The loss, with the number of videos if some could not be read."""
    if scores.loss is None:
        return "no loss: no video could be read"
    some = f" (of the {scores.videos - scores.unread} that were read)" if scores.unread else ""
    return f"loss {scores.loss:.4f}{some}"


def accuracy_lines(video: AnyScores, clip: AnyScores) -> list[str]:
    """Lines with the accuracy per clip and per video, and that of a constant answer."""
    total = video.videos  # the clips of one video are no further evidence
    if isinstance(video, MultiLabelScores):
        return [
            f"  clip mAP {percent(clip.headline, total)}   video mAP {percent(video.map, total)}   "
            f"hit@1 {accuracy(video.hit1, total)}",
            "  mAP of giving every video the same answer "
            f"{percent(video.prior, total)}   {loss_text(video)}",
        ]
    top5 = f"   video@5 {accuracy(video.top5, total)}" if len(video.per_class) > TOP_K else ""
    return [
        f"  clip@1 {percent(clip.headline, total)}   video@1 {accuracy(video.top1, total)}{top5}",
        f"  mean per-class accuracy {percent(video.macro, total)}   most frequent class "
        f"{percent(video.majority, total)}   {loss_text(video)}",
        f"  [] = {WILSON}",
    ]


def score_values(video: AnyScores, clip: AnyScores, names: Sequence[str]) -> dict[str, Any]:
    """The entries of a result file.

    Args:
        video: scores per video.
        clip: scores per view.
        names: of the classes.
    """
    per_class = dict(zip(names, video.per_class, strict=True))
    if isinstance(video, Scores):
        return {
            "scores": {
                "clip_top1": clip.headline,
                "video_top1": video.top1,
                "video_top1_wilson95": list(wilson_of(video.top1, video.videos)),
                "video_top5": video.top5,
                "mean_per_class": video.macro,
                "majority_baseline": video.majority,
                "loss": video.loss,
                "videos": video.videos,
                "unread": video.unread,
            },
            "per_class": per_class,
            "confusion": {
                "classes": list(names),
                "true_by_predicted": video.confusion,
                "unread": video.unread_per_class,
            },
        }
    return {
        "scores": {
            "clip_map": clip.headline,
            "video_map": video.map,
            "hit1": video.hit1,
            "hit1_wilson95": list(wilson_of(video.hit1, video.videos)),
            "constant_baseline": video.prior,
            "loss": video.loss,
            "videos": video.videos,
            "unread": video.unread,
        },
        "per_class": per_class,
        "positives": dict(zip(names, video.positives, strict=True)),
    }


class Summary(Callback):
    """Keeps the scores of the best epoch, and writes the summary when the training ends.

    Args:
        checkpoints: of the run; knows which epoch is the best.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.best: dict[str, Any] | None = None
        self.signs: str | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the scores if they are the best so far."""
        scores: Any = pl_module.video_scores
        if trainer.sanity_checking or not scores.videos:
            return
        key = (scores.headline, -loss_of(vars(scores)))
        if self.best is None or key > (self.best[scores.metric], -loss_of(self.best)):
            shown: Any = pl_module.preprocessing
            about = {"epoch": trainer.current_epoch + 1, "views": shown.shown_views}
            self.best = {**about, **vars(scores)}

    def state_dict(self) -> dict[str, Any]:
        """The best scores, as primitives."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from them."""
        self.best = state_dict["best"]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files."""
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.save()
            classifier: Any = pl_module
            self.signs = signs_of_run(classifier, trainer, self.checkpoints.folder, self.best)
            write_summary(
                self.checkpoints.folder,
                title=str(pl_module.hparams["name"]),
                class_names=names_of(classifier),
                best=self.best,
                epochs=trainer.current_epoch,
                signs=self.signs,
                about=origin_lines(pl_module.hparams, trainer),
            )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Diagnose a training that had ended before it was resumed: it has no other hook."""
        if self.signs is None and trainer.is_global_zero:
            self.signs = signs_of_run(pl_module, trainer, self.checkpoints.folder, self.best)


def names_of(classifier: Any) -> list[str]:
    """The class names of a classifier; their numbers where there are none."""
    names: list[str] | None = classifier.class_names
    return names or [str(i) for i in range(classifier.num_classes)]


def write_summary(
    folder: Path,
    *,
    title: str,
    class_names: list[str],
    best: dict[str, Any] | None,
    epochs: int,
    signs: str | None = None,
    about: Sequence[str] = (),
) -> Path:
    """Write ``summary.md`` and its pictures; returns its path."""
    rows = read_metrics(folder / METRICS_FILE)
    lines = [f"# {markdown_text(title)}: {counted(epochs, 'epoch')}", "", *about]
    if signs is not None:
        lines += [f"Diagnosis: {markdown_text(signs)}.", ""]
    if best is None:
        lines += ["No validation was done.", ""]
    else:
        lines += score_table(best, epochs)
    shown = {"videos": best["videos"], "best": best["epoch"]} if best else {"videos": 0}
    if plot_curves(rows, folder / CURVES, **shown):
        lines += ["## Curves", "", f"![loss and accuracy]({CURVES})", ""]
    if best is not None:
        lines += class_table(best, class_names)
        if "confusion" in best:
            unread = best["unread_per_class"]
            plot_confusion(best["confusion"], class_names, folder / CONFUSION, unread=unread)
            lines += ["## Confusion", "", f"![confusion matrix]({CONFUSION})", ""]
    path = folder / SUMMARY
    write_text(path, "\n".join(lines))
    return path


def signs_of_run(
    classifier: Any, trainer: Trainer, folder: Path, best: Mapping[str, Any] | None
) -> str | None:
    """The diagnosis of the training (signs.py), from ``metrics.csv`` and the data."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    several, weights = classifier.multi_label, classifier.class_weights
    records, classes = data.records["train"], classifier.num_classes
    counts = clips_per_class(records, classes, balanced=data.balanced)
    train, val = len(records), data.census.get("val", {}).values()
    videos = int(best["videos"]) if best else 0
    kept = None if weights is None else weights.tolist()
    smoothing = classifier.recipe.label_smoothing
    constant = constant_loss(
        counts, train, multi_label=several, weights=kept, label_smoothing=smoothing
    )
    course = Course(
        **course_of(
            read_metrics(folder / METRICS_FILE),
            metric="hit1" if several else classifier.task.metric,
        ),
        clips=train,
        videos=videos,
        # Of a loss of the user's no constant is known.
        constant_loss=constant if classifier.loss is None else math.inf,
        constant=max(val, default=0) / max(videos, 1),
        classes=classes,
        optimizer=classifier.recipe.optimizer,
        rate=classifier.recipe.learning_rate,
        steps=trainer.global_step,
    )
    return signs_of(course)


def clips_per_class(records: Sequence[Record], classes: int, *, balanced: bool) -> list[float]:
    """Clips of every class that an epoch shows; the balanced sampler goes by the first labels.

    Example:
        >>> videos = [Record("a", (0,)), Record("b", (0, 1)), Record("c", (1,)), Record("d", ())]
        >>> clips_per_class(videos, 2, balanced=False), clips_per_class(videos, 2, balanced=True)
        ([2.0, 2.0], [1.5, 2.25])
    """
    first = Counter(record.labels[0] for record in records if record.labels)
    even = balanced_weights([first[number] for number in range(classes)])
    found = [0.0] * classes
    for record in records:
        for number in record.labels:
            found[number] += even[record.labels[0]] if balanced else 1.0
    return found


def origin_lines(hparams: Mapping[str, Any], trainer: Trainer) -> list[str]:
    """Lines on the initial weights, their licence, and the census of the data."""
    lines = []
    if hparams["provenance"]:
        licence = hparams["licence"] or "not known"
        lines += [
            f"Started from {markdown_text(hparams['provenance'])} "
            f"(licence of those weights: {markdown_text(licence)}).",
            "",
        ]
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    census = getattr(getattr(data, "catalogue", None), "census", {})
    if census:
        lines += ["| videos | listed | found | missing | unreadable |", "|---|---|---|---|---|"]
        lines += [
            f"| {split} | {part.listed} | {part.found} | {part.missing} | {part.unreadable} |"
            for split, part in census.items()
        ]
    return [*lines, ""] if lines else []


def loss_of(scores: Mapping[str, Any]) -> float:
    """The loss; infinite where no video could be read."""
    return float("inf") if scores["loss"] is None else float(scores["loss"])


def figures_of(best: dict[str, Any]) -> list[tuple[str, str]]:
    """The scores to show, with their names; shares of right videos with their interval."""
    total = best["videos"]
    if "map" in best:
        return [
            ("mean average precision", percent(best["map"], total)),
            ("hit@1", accuracy(best["hit1"], total)),
            ("baseline: the same answer for every video, mAP", percent(best["prior"], total)),
        ]
    few = len(best["per_class"]) <= TOP_K  # then top-5 is always right
    return [
        ("top-1", accuracy(best["top1"], total)),
        *([] if few else [("top-5", accuracy(best["top5"], total))]),
        ("mean per-class accuracy", percent(best["macro"], total)),
        ("baseline: always the most frequent class", percent(best["majority"], total)),
    ]


def optimistic(epochs: int, videos: int) -> str:
    """A remark that the best of several epochs is too high an estimate; "" for one epoch."""
    if epochs < 2:
        return ""
    return (
        f"the best of {epochs} epochs on the same {counted(videos, 'video')}, which is optimistic"
    )


def score_table(best: dict[str, Any], epochs: int) -> list[str]:
    """The figures of the best epoch."""
    chosen = optimistic(epochs, best["videos"])
    return [
        f"Best validation, after epoch {best['epoch']}, {counted(best['videos'], 'video')} "
        f"({best.get('views', 'one clip each')}, as test, compare and predict sample videos"
        f"{'; ' + chosen if chosen else ''}). [] = {WILSON}:",
        "",
        "| | |",
        "|---|---|",
        *[f"| {name} | {value} |" for name, value in figures_of(best)],
        f"| loss | {'' if best['loss'] is None else format(best['loss'], '.4f')} |",
        "",
        *unread_lines(best),
    ]


def unread_lines(best: dict[str, Any]) -> list[str]:
    """A line on the videos that could not be read, if there are any."""
    if not best["unread"]:
        return []
    return [
        f"{best['unread']} of {counted(best['videos'], 'video')} could not be read: they count as "
        "wrong in every score; the loss is that of the others.",
        "",
    ]


def class_table(best: dict[str, Any], class_names: list[str]) -> list[str]:
    """Accuracy and most frequent confusion of every class; or the average precision."""
    if "map" in best:
        lines = ["## Classes", "", "| class | videos | average precision |", "|---|---|---|"]
        for name, number, value in zip(
            class_names, best["positives"], best["per_class"], strict=True
        ):
            shown = "" if value is None else percent(value, best["videos"])
            lines.append(markdown_row([name, str(number), shown]))
        return [*lines, ""]
    some = any(best["unread_per_class"])  # then a column of their own
    titles = ("class", "videos", *(["unread"] if some else []), "accuracy", "most often taken for")
    lines = ["## Classes", "", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for index, name in enumerate(class_names):
        row = best["confusion"][index]
        wrong = [count if other != index else 0 for other, count in enumerate(row)]
        worst = max(range(len(wrong)), key=wrong.__getitem__)
        taken = f"{class_names[worst]} ({wrong[worst]})" if wrong[worst] else ""
        share, unread = best["per_class"][index], best["unread_per_class"][index]
        shown = "no videos" if share is None else accuracy(share, sum(row) + unread)
        cells = [name, str(sum(row) + unread), *([str(unread or "")] if some else []), shown, taken]
        lines.append(markdown_row(cells))
    return [*lines, ""]
