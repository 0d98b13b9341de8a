"""The diagnosis of a finished training, in one sentence with options to try next."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from videonl.shares import accuracy, counted, percent, wilson_of

NEAR = 0.98  # above this share of the constant answer's loss: not learned
FALLS = 0.95  # below this share of the loss before: it still falls
HIGH = 0.98  # training accuracy that can hardly improve
LOW = 0.8  # training accuracy below this: underfitted
GAP = 0.1  # between training and validation


@dataclass(frozen=True)
class Course:
    """A training, epoch by epoch.

    Attributes:
        losses: mean training loss of every epoch.
        training: accuracy on the training clips, likewise, 0 to 1.
        validation: accuracy on the validation videos; empty without any.
        clips: training clips of an epoch.
        videos: validation videos.
        constant_loss: training loss of the best answer that is the same for all videos.
        constant: accuracy of such an answer on the validation videos.
        classes: K.
        optimizer: of the recipe.
        rate: of the recipe.
        steps: of the optimiser.
    """

    losses: Sequence[float]
    training: Sequence[float]
    validation: Sequence[float]
    clips: int
    videos: int
    constant_loss: float
    constant: float
    classes: int
    optimizer: str
    rate: float
    steps: int


def course_of(rows: Sequence[Mapping[str, float]], *, metric: str) -> dict[str, list[float]]:
    """``losses``, ``training`` and ``validation`` out of the rows of ``metrics.csv``.

    Args:
        rows: of the file.
        metric: "top1", or "hit1" of several labels per video.
    """
    keys = {
        "losses": "train/epoch_loss",
        "training": f"train/{metric}",
        "validation": f"val/{metric}",
    }
    return {name: [row[key] for row in rows if key in row] for name, key in keys.items()}


def constant_loss(
    counts: Sequence[float],
    videos: int,
    *,
    multi_label: bool,
    weights: Sequence[float] | None,
    label_smoothing: float = 0.0,
) -> float:
    """Loss of the best answer that is the same for all videos: the frequencies of the classes.

    As the loss counts them: smoothed and weighted. It is ln K if they are equal.

    Args:
        counts: training clips per class.
        videos: training clips.
        multi_label: whether the loss is binary cross-entropy, averaged over the classes.
        weights: of the classes in the loss.
        label_smoothing: of the loss.
    """
    total = max(videos if multi_label else sum(counts), 1)
    spread = label_smoothing / (2 if multi_label else max(len(counts), 1))
    shares = [count / total * (1 - label_smoothing) + spread for count in counts]
    heavy = weights or [1.0] * len(shares)
    parts = [w * q for w, q in zip(heavy, shares, strict=True)]
    whole = sum(parts)
    if not multi_label:
        return -sum(part * math.log(part / whole) for part in parts if part > 0)
    entropies = (-sum(p * math.log(p) for p in (q, 1 - q) if p > 0) for q in shares)
    mixed = sum(w * entropy for w, entropy in zip(heavy, entropies, strict=True))
    return mixed / (sum(heavy) or 1.0)


def signs_of(course: Course) -> str | None:
    """The sentence: not learned, still improving, overfitted, underfitted or learned.

    The training scores are those of augmented clips, with dropout.

    Returns:
        None where no epoch was trained.
    """
    if not course.losses or not course.training:
        return None
    epochs, loss, training = len(course.losses), course.losses[-1], course.training[-1]
    more = f"--trainer.max_epochs {max(10, 2 * epochs)}"
    seen = f"training {percent(training, course.clips)}"
    low = high = None
    if course.validation:
        validated = course.validation[-1]
        low, high = wilson_of(validated, course.videos)
        seen += f", validation {accuracy(validated, course.videos)}"
    blind = low is None or low <= course.constant
    if loss >= NEAR * course.constant_loss and blind:
        return (
            f"not learned: the loss {loss:.3f} is no better than the {course.constant_loss:.3f} of "
            f"a constant answer (ln {course.classes} = {math.log(course.classes):.3f}) "
            f"after {counted(course.steps, 'step')}, {seen}; try {_other_rate(course)}, or {more}"
        )
    if training < HIGH and _improves(course):
        return f"still improving: the loss still falls ({loss:.3f}), {seen}; try {more}"
    if high is not None and training > high and training - course.validation[-1] > GAP:
        return (
            f"overfitted: {seen}; try more videos, --model.pretrained FILE, "
            "--recipe.mixup 0.2, a higher --recipe.weight_decay or a smaller --model.name"
        )
    if training < LOW:
        return (
            f"underfitted: {seen}, and the loss no longer falls ({loss:.3f}); try "
            f"{_other_rate(course)}, or a larger --model.name"
        )
    return f"learned: {seen}"


def _other_rate(course: Course) -> str:
    """Options for another optimiser or learning rate."""
    if course.optimizer != "adamw":
        return (
            "--recipe.optimizer adamw --recipe.learning_rate 0.003 "
            f"(it was {course.optimizer} at {course.rate:g})"
        )
    return f"--recipe.learning_rate {course.rate / 3:.1g} or {course.rate * 3:.1g}"


def _improves(course: Course) -> bool:
    """Whether the last quarter is better than the one before, in training and validation."""
    quarter = max(1, len(course.losses) // 4)
    last, before = course.losses[-quarter:], course.losses[-2 * quarter : -quarter]
    if not before:
        return True  # one epoch
    falls = sum(last) / len(last) <= FALLS * sum(before) / len(before)
    best = max(course.validation, default=0.0)
    recent = course.validation[-max(1, len(course.validation) // 3) :]
    return falls and (not recent or max(recent) >= best)
