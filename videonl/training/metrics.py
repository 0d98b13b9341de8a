"""Accuracy that accumulates on the device, without synchronising before the end of the epoch.

Then it is added up over all processes, which all must call ``of_all`` and ``add_up``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from videonl.video.transfer import sent

TOP_K = 5
Known = TypeVar("Known")


@dataclass(frozen=True)
class Scores:
    """What a pass over a data set measured.

    Attributes:
        videos: how many there are, including those that could not be read.
        unread: how many of them could not be read; they count as wrong.
        loss: mean over the videos that were read; None without any.
        top1: share whose most probable class is right, 0 to 1.
        top5: share whose class is among the five most probable (among all, with fewer classes).
        macro: mean of the per-class accuracies over the classes that have videos.
        majority: accuracy of always answering the most frequent class.
        per_class: accuracy of every class; None for a class without videos.
        confusion: confusion[true][predicted], counts of the videos that were read.
        unread_per_class: counts of the other videos by their true class.
    """

    metric: ClassVar[str] = "top1"

    videos: int
    unread: int
    loss: float | None
    top1: float
    top5: float
    macro: float
    majority: float
    per_class: list[float | None]
    confusion: list[list[int]]
    unread_per_class: list[int]

    @property
    def headline(self) -> float:
        """The score by which the best checkpoint is chosen."""
        return self.top1

    def logged(self) -> dict[str, float]:
        """The figures of a log."""
        keys = ("loss", "top1", "top5", "macro", "majority")
        return {key: value for key in keys if (value := getattr(self, key)) is not None}


class ClassificationMeter:
    """Counts right answers per class, on the device of its inputs.

    Not a module, since DDP would overwrite its buffers with those of the first process.

    Example:
        >>> meter = ClassificationMeter(3)
        >>> meter.update(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0]), torch.tensor([0.4]))
        >>> meter.scores().top1
        1.0
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._place(torch.device("cpu"))

    def _place(self, device: torch.device) -> None:
        """Reset on a device; not as inference tensors, which a training could not update."""
        classes = self.num_classes
        # Right in the top k, videos read, loss; float64 counts up to 2^53.
        wide = torch.float32 if device.type == "mps" else torch.float64
        with torch.inference_mode(False):
            self.confusion = torch.zeros(classes, classes, dtype=torch.long, device=device)
            self.unread = torch.zeros(classes, dtype=torch.long, device=device)
            self.sums = torch.zeros(3, dtype=wide, device=device)

    def to(self, device: torch.device) -> None:
        """Move to a device, with the counts."""
        if self.sums.device != device:
            confusion, unread, sums = self.confusion, self.unread, self.sums
            self._place(device)
            self.confusion += sent(confusion, device)
            self.unread += sent(unread, device)
            self.sums += sent(sums.to(self.sums.dtype), device)

    @torch.no_grad()
    def update(self, scores: Tensor, labels: Tensor, losses: Tensor) -> None:
        """Count a batch.

        Args:
            scores: (B, K) logits or probabilities.
            labels: (B,) int64; a negative label is not counted.
            losses: (B,) loss per video.
        """
        self.to(scores.device)
        known = labels >= 0
        # Of equal scores the first class counts, as everywhere; ``topk`` takes any.
        order = scores.sort(dim=1, descending=True, stable=True).indices
        top = order[:, : min(TOP_K, self.num_classes)]  # (B, k)
        places = (labels.clamp(min=0), top[:, 0])
        self.confusion.index_put_(places, known.long(), accumulate=True)
        hit = (top == labels[:, None]).any(1)  # a negative label is never hit
        batch = torch.stack([hit, known, torch.where(known, losses, 0.0)])
        self.sums += batch.sum(1, dtype=self.sums.dtype)

    def miss(self, labels: Tensor) -> None:
        """Count videos that could not be read as wrong answers.

        Args:
            labels: (M,) int64 of them; a negative label is not counted.
        """
        known = labels[labels >= 0].cpu()
        self.unread += torch.bincount(known, minlength=self.num_classes).to(self.unread.device)

    def reset(self) -> None:
        """Start afresh."""
        self._place(self.sums.device)

    def state(self) -> dict[str, Tensor]:
        """The counts so far, over all processes, for a checkpoint."""
        counts = {
            "confusion": self.confusion.clone(),
            "unread": self.unread.clone(),
            "sums": self.sums.clone(),
        }
        return {name: add_up(count).cpu() for name, count in counts.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore ``state``; of several processes in one only, since counts are summed."""
        self.reset()
        self.confusion += state["confusion"].to(self.confusion)
        self.unread += state["unread"].to(self.unread)
        self.sums += state["sums"].to(self.sums)

    def scores(self, device: torch.device | None = None) -> Scores:
        """Sum over all processes and compute; this synchronises with the device.

        Args:
            device: of the process, for a meter that has not counted anything yet.
        """
        self.to(device or self.sums.device)
        state = self.state()
        confusion, unread = state["confusion"], state["unread"]
        top_k, read, loss = state["sums"].tolist()
        total = confusion.sum(1) + unread  # (K,) videos of each true class: the one denominator
        right = confusion.diagonal()
        per_class = [
            r / n if n else None for r, n in zip(right.tolist(), total.tolist(), strict=True)
        ]
        present = [value for value in per_class if value is not None]
        count = max(int(total.sum()), 1)
        return Scores(
            videos=int(total.sum()),
            unread=int(unread.sum()),
            loss=loss / read if read else None,
            top1=float(right.sum()) / count,
            top5=top_k / count,
            macro=sum(present) / max(len(present), 1),
            majority=float(total.max()) / count,
            per_class=per_class,
            confusion=confusion.tolist(),
            unread_per_class=unread.tolist(),
        )


def negative_log(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of probabilities (B, K) against labels (B,); finite where one is 0."""
    picked = probabilities.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    return -picked.clamp(min=torch.finfo(picked.dtype).tiny).log()


UNREAD = -1.0  # below every probability: a video that could not be read ranks last


@dataclass(frozen=True)
class MultiLabelScores:
    """What a pass over a multi-label data set measured.

    Attributes:
        videos: videos with at least one label, with those that could not be read.
        unread: how many of them could not be read; they rank last in each of their classes.
        loss: mean over the videos that were read; None where there is none.
        map: mean of the average precisions of the classes that have videos, 0 to 1; 0 if the scores
            were not kept.
        hit1: share of the videos whose most probable class is one of theirs.
        prior: mean average precision of giving every video the same answer.
        per_class: average precision of every class; None for a class without videos.
        positives: videos per class.
    """

    metric: ClassVar[str] = "map"

    videos: int
    unread: int
    loss: float | None
    map: float
    hit1: float
    prior: float
    per_class: list[float | None]
    positives: list[int]

    @property
    def headline(self) -> float:
        """The score by which the best checkpoint is chosen."""
        return self.map

    def logged(self) -> dict[str, float]:
        """The figures of a log."""
        keys = ("loss", "map", "hit1", "prior")
        return {key: value for key in keys if (value := getattr(self, key)) is not None}


class MultiLabelMeter:
    """Keeps scores and labels on the device of its inputs until the end of a pass.

    Args:
        num_classes: K.
        ranking: keep the scores (8 K bytes per row), for the mean average precision. A training
            does not.

    Example:
        >>> meter = MultiLabelMeter(2)
        >>> truth = torch.tensor([[True, False], [True, True]])
        >>> meter.update(torch.tensor([[0.9, 0.6], [0.8, 0.7]]), truth, torch.zeros(2))
        >>> meter.scores().map
        1.0
    """

    def __init__(self, num_classes: int, *, ranking: bool = True) -> None:
        self.num_classes, self.ranking = num_classes, ranking
        self._place(torch.device("cpu"))

    def _place(self, device: torch.device) -> None:
        """Reset on a device."""
        wide = torch.float32 if device.type == "mps" else torch.float64
        with torch.inference_mode(False):
            self.sums = torch.zeros(4, dtype=wide, device=device)  # hits, read, loss, not read
        self.rows: list[tuple[Tensor, Tensor]] = []

    def to(self, device: torch.device) -> None:
        """Move to a device, with the counts."""
        if self.sums.device != device:
            sums, rows = self.sums, self.rows
            self._place(device)
            self.sums += sent(sums.to(self.sums.dtype), device)
            self.rows = [(sent(scores, device), sent(truth, device)) for scores, truth in rows]

    @torch.no_grad()
    def update(self, scores: Tensor, truth: Tensor, losses: Tensor) -> None:
        """Count a batch.

        Args:
            scores: (B, K) logits or probabilities.
            truth: (B, K), not zero where a label is; a video without any is not counted.
            losses: (B,) loss per video.
        """
        self.to(scores.device)
        truth = truth > 0
        known = truth.any(1)
        hit = truth.gather(1, scores.argmax(1, keepdim=True))[:, 0]
        losses = torch.where(known, losses, losses.new_zeros(()))
        batch = torch.stack([hit, known, losses])  # of the type of the losses
        self.sums[:3].add_(batch.sum(1, dtype=self.sums.dtype))
        if self.ranking:
            self.rows.append((scores.to(self.sums), truth))

    def miss(self, truth: Tensor) -> None:
        """Count videos that could not be read.

        Args:
            truth: (M, K) of them.
        """
        truth = truth > 0
        self.sums[3] += int(truth.any(1).sum())
        if self.ranking and len(truth):
            scores = torch.full(truth.shape, UNREAD, dtype=self.sums.dtype)
            self.rows.append((scores.to(self.sums.device), truth.to(self.sums.device)))

    def reset(self) -> None:
        """Start afresh."""
        self._place(self.sums.device)

    def state(self) -> dict[str, Tensor]:
        """The counts so far, over all processes, without the scores."""
        return {"sums": add_up(self.sums.clone()).cpu()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore the counts of ``state``."""
        self.reset()
        self.sums += state["sums"].to(self.sums)

    def scores(self, device: torch.device | None = None) -> MultiLabelScores:
        """Gather over all processes and compute; this synchronises with the device.

        Args:
            device: of the process, for a meter that has not counted anything yet.
        """
        self.to(device or self.sums.device)
        hits, read, loss, unread = self.state()["sums"].tolist()
        scores, truth = gathered(self.rows, self.num_classes)
        known = truth.any(1)
        scores, truth = scores[known], truth[known]
        per_class = [
            average_precision(scores[:, place], truth[:, place])
            for place in range(self.num_classes)
        ]
        positives = truth.sum(0)
        present = [value for value in per_class if value is not None]
        shares = [n / len(truth) for n in positives.tolist() if n]
        return MultiLabelScores(
            videos=int(read + unread),
            unread=int(unread),
            loss=loss / read if read else None,
            map=sum(present) / max(len(present), 1),
            hit1=hits / max(read + unread, 1.0),
            prior=sum(shares) / max(len(shares), 1),
            per_class=per_class,
            positives=positives.tolist(),
        )


def mean_loss(sums: Tensor) -> float | None:
    """Mean loss of the videos in ``sums`` of a meter, on the host; None without any."""
    read, loss = sums[1:3].tolist()
    return loss / read if read else None


def gathered(rows: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> tuple[Tensor, Tensor]:
    """Scores and truth (N, K) of all processes, on the CPU."""
    scores = torch.cat([torch.zeros(0, num_classes), *(row.cpu() for row, _ in rows)])
    truth = torch.cat([torch.zeros(0, num_classes, dtype=torch.bool), *(t.cpu() for _, t in rows)])
    shares = of_all((scores, truth))
    return torch.cat([share[0] for share in shares]), torch.cat([share[1] for share in shares])


def average_precision(scores: Tensor, truth: Tensor) -> float | None:
    """Area under precision over recall, as steps: sum over the thresholds of (R - R') P.

    Equal scores are one threshold, so the order of the videos does not matter.

    Args:
        scores: (N,).
        truth: bool (N,).

    Returns:
        0 to 1; None where nothing is true.

    Example:
        >>> average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True]))
        0.8333333333333333
    """
    total = int(truth.sum())
    if not total:
        return None
    order = scores.argsort(descending=True)
    ranked, right = scores[order], truth[order].double().cumsum(0)
    last = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool)])
    hits, seen = right[last], (torch.arange(len(ranked)) + 1.0).double()[last]
    gained = hits.diff(prepend=torch.zeros(1, dtype=torch.float64)) / total
    return float((gained * hits / seen).sum())


def are_several() -> bool:
    """Whether this process is one of several."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def of_all(known: Known) -> list[Known]:
    """The values of all processes, in the order of their ranks."""
    if not are_several():
        return [known]
    shares = [known] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, known)
    return shares


def add_up(counts: Tensor) -> Tensor:
    """The sum over all processes, in place; on a device that their backend supports."""
    if are_several():
        torch.distributed.all_reduce(counts)
    return counts
