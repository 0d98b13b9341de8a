"""``summary.md`` at the end of a training: figures, curves, per-class accuracy, confusion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from videonl.escapes import markdown_row, markdown_text
from videonl.files import write_text
from videonl.training.checkpoints import Checkpoints
from videonl.training.metrics import TOP_K
from videonl.training.metrics_file import METRICS_FILE, read_metrics
from videonl.training.score_text import percent
from videonl.training.summary_plots import plot_confusion, plot_curves

SUMMARY, CURVES, CONFUSION = "summary.md", "curves.png", "confusion.png"
MOST_CLASSES = 60  # in a confusion picture that can still be read


class Summary(Callback):
    """Remembers the scores of the best epoch, and writes the summary when the training ends.

    Args:
        checkpoints: of the run; knows which epoch is the best.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.best: dict[str, Any] | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the scores if they are the best so far."""
        scores: Any = pl_module.video_scores
        if not scores.videos:
            return
        key = (scores.headline, -loss_of(vars(scores)))
        if self.best is None or key > (self.best[scores.metric], -loss_of(self.best)):
            self.best = {"epoch": trainer.current_epoch + 1, **vars(scores)}

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
            names = classifier.class_names or [str(i) for i in range(classifier.num_classes)]
            write_summary(
                self.checkpoints.folder,
                title=str(pl_module.hparams["name"]),
                class_names=names,
                best=self.best,
                epochs=trainer.current_epoch,
                about=origin_lines(pl_module.hparams, trainer),
            )


def write_summary(
    folder: Path,
    *,
    title: str,
    class_names: list[str],
    best: dict[str, Any] | None,
    epochs: int,
    about: Sequence[str] = (),
) -> Path:
    """Write ``summary.md`` and its pictures; returns its path."""
    rows = read_metrics(folder / METRICS_FILE)
    lines = [f"# {markdown_text(title)}: {epochs} epochs", "", *about]
    if best is None:
        lines += ["No validation was done.", ""]
    else:
        lines += score_table(best)
    if plot_curves(rows, folder / CURVES):
        lines += ["## Curves", "", f"![loss and accuracy]({CURVES})", ""]
    if best is not None:
        lines += class_table(best, class_names)
        if "confusion" in best and len(class_names) <= MOST_CLASSES:
            unread = best["unread_per_class"]
            plot_confusion(best["confusion"], class_names, folder / CONFUSION, unread=unread)
            lines += ["## Confusion", "", f"![confusion matrix]({CONFUSION})", ""]
    path = folder / SUMMARY
    write_text(path, "\n".join(lines))
    return path


def origin_lines(hparams: Mapping[str, Any], trainer: Trainer) -> list[str]:
    """What the weights started from, under which licence, and what of the data was there."""
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


def figures_of(best: dict[str, Any]) -> list[tuple[str, float]]:
    """The shares to show, with their names."""
    if "map" in best:
        return [
            ("mean average precision", best["map"]),
            ("hit@1", best["hit1"]),
            ("baseline: the same answer for every video, mAP", best["prior"]),
        ]
    few = len(best["per_class"]) <= TOP_K  # then the top 5 are all
    return [
        ("top-1", best["top1"]),
        *([] if few else [("top-5", best["top5"])]),
        ("mean per-class accuracy", best["macro"]),
        ("baseline: always the most frequent class", best["majority"]),
    ]


def score_table(best: dict[str, Any]) -> list[str]:
    """The figures of the best epoch."""
    return [
        f"Best validation, after epoch {best['epoch']}, {best['videos']} videos "
        "(one clip each; `test` runs the full protocol):",
        "",
        "| | |",
        "|---|---|",
        *[f"| {name} | {percent(value)} |" for name, value in figures_of(best)],
        f"| loss | {'' if best['loss'] is None else format(best['loss'], '.4f')} |",
        "",
        *unread_lines(best),
    ]


def unread_lines(best: dict[str, Any]) -> list[str]:
    """How many of the videos could not be read, where some could not."""
    if not best["unread"]:
        return []
    return [
        f"{best['unread']} of the {best['videos']} videos could not be read: they count as wrong "
        "in every figure; the loss is that of the others.",
        "",
    ]


def class_table(best: dict[str, Any], class_names: list[str]) -> list[str]:
    """Accuracy per class, and what each is taken for most often; or the average precision."""
    if "map" in best:
        lines = ["## Classes", "", "| class | videos | average precision |", "|---|---|---|"]
        for name, number, value in zip(
            class_names, best["positives"], best["per_class"], strict=True
        ):
            shown = "" if value is None else percent(value)
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
        accuracy = best["per_class"][index]
        shown = "no videos" if accuracy is None else f"{100 * accuracy:.1f} %"
        unread = best["unread_per_class"][index]
        cells = [name, str(sum(row) + unread), *([str(unread or "")] if some else []), shown, taken]
        lines.append(markdown_row(cells))
    return [*lines, ""]
