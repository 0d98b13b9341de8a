"""Scores as a person reads them, and as a result file holds them."""

from collections.abc import Sequence
from typing import Any

from videonl.training.metrics import TOP_K, Scores
from videonl.training.multi_label_metrics import MultiLabelScores
from videonl.training.task import AnyScores


def percent(value: float) -> str:
    """0.1234 -> "12.34 %"."""
    return f"{100 * value:.2f} %"


def loss_text(scores: AnyScores) -> str:
    """The loss, and of how many videos where that is not all of them."""
    if scores.loss is None:
        return "no loss: no video could be read"
    some = f" (of the {scores.videos - scores.unread} that were read)" if scores.unread else ""
    return f"loss {scores.loss:.4f}{some}"


def accuracy_lines(video: AnyScores, clip: AnyScores) -> list[str]:
    """Accuracy per clip and per video, and beside it what a constant answer scores."""
    if isinstance(video, MultiLabelScores):
        return [
            f"  clip mAP {percent(clip.headline)}   video mAP {percent(video.map)}   "
            f"hit@1 {percent(video.hit1)}",
            f"  mAP of an answer that is the same for every video {percent(video.prior)}   "
            f"{loss_text(video)}",
        ]
    top5 = f"   video@5 {percent(video.top5)}" if len(video.per_class) > TOP_K else ""
    return [
        f"  clip@1 {percent(clip.headline)}   video@1 {percent(video.top1)}{top5}",
        f"  mean per-class accuracy {percent(video.macro)}   most frequent class "
        f"{percent(video.majority)}   {loss_text(video)}",
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
            "constant_baseline": video.prior,
            "loss": video.loss,
            "videos": video.videos,
            "unread": video.unread,
        },
        "per_class": per_class,
        "positives": dict(zip(names, video.positives, strict=True)),
    }
