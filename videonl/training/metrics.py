"""Accuracy that accumulates on the device: no value leaves it before the end of the epoch."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

TOP_K = 5


@dataclass(frozen=True)
class Scores:
    """What a pass over a data set measured.

    Attributes:
        videos: how many there are, with those that could not be read.
        unread: how many of them could not be read; they count as wrong.
        loss: mean over the videos that were read.
        top1: share whose most probable class is right, 0 to 1.
        top5: share whose class is among the five most probable (among all, with fewer classes).
        macro: mean of the per-class accuracies over the classes that occur.
        majority: what always answering the most frequent class would score.
        per_class: accuracy of every class; None for a class without videos.
        confusion: confusion[true][predicted], numbers of videos.
    """

    metric: ClassVar[str] = "top1"

    videos: int
    unread: int
    loss: float
    top1: float
    top5: float
    macro: float
    majority: float
    per_class: list[float | None]
    confusion: list[list[int]]

    @property
    def headline(self) -> float:
        """What the best checkpoint has highest."""
        return self.top1

    def logged(self) -> dict[str, float]:
        """The figures of a log."""
        return {key: getattr(self, key) for key in ("loss", "top1", "top5", "macro", "majority")}


class ClassificationMeter:
    """Counts right answers per class, on the device of what it is given.

    It is no module: DDP would copy the counts of the first process over those of the others.

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
        """Start afresh on a device."""
        classes = self.num_classes
        self.confusion = torch.zeros(classes, classes, dtype=torch.long, device=device)
        # Right in the top k, videos read, loss, videos not read; float64 counts up to 2^53.
        wide = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(4, dtype=wide, device=device)

    def to(self, device: torch.device) -> None:
        """Move to a device, with the counts."""
        if self.sums.device != device:
            confusion, sums = self.confusion, self.sums
            self._place(device)
            self.confusion += confusion.to(device)
            self.sums += sums.to(self.sums)

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
        weight = known.long()
        labels = labels.clamp(min=0)
        # Of equal scores the first class counts, as everywhere; ``topk`` takes any.
        order = scores.sort(dim=1, descending=True, stable=True).indices
        top = order[:, : min(TOP_K, self.num_classes)]  # (B, k)
        self.confusion.index_put_((labels, top[:, 0]), weight, accumulate=True)
        hit = (top == labels[:, None]).any(1) & known
        losses = torch.where(known, losses, losses.new_zeros(()))
        batch = torch.stack([hit.to(self.sums), known.to(self.sums), losses.to(self.sums)])
        self.sums[:3] += batch.sum(1)

    def miss(self, videos: int) -> None:
        """Count videos that could not be read: wrong, whatever their class."""
        if videos:
            self.sums[3] += videos

    def reset(self) -> None:
        """Start afresh."""
        self._place(self.sums.device)

    def state(self) -> dict[str, Tensor]:
        """The counts so far, over all processes, for a checkpoint."""
        confusion, sums = self.confusion.clone(), self.sums.clone()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(confusion)
            torch.distributed.all_reduce(sums)
        return {"confusion": confusion.cpu(), "sums": sums.cpu()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on counting from ``state``; one process of several does, the others from nothing."""
        self.reset()
        self.confusion += state["confusion"].to(self.confusion)
        self.sums += state["sums"].to(self.sums)

    def scores(self, device: torch.device | None = None) -> Scores:
        """Add up over all processes and compute. This is where the host waits for the device.

        Args:
            device: of the process; one that has counted nothing yet does not know it.
        """
        self.to(device or self.sums.device)
        state = self.state()
        confusion = state["confusion"]
        top_k, read, loss, unread = state["sums"].tolist()
        total = confusion.sum(1)  # (K,) videos of each true class
        right = confusion.diagonal()
        per_class = [
            r / n if n else None for r, n in zip(right.tolist(), total.tolist(), strict=True)
        ]
        present = [value for value in per_class if value is not None]
        count = max(read + unread, 1.0)
        return Scores(
            videos=int(read + unread),
            unread=int(unread),
            loss=loss / max(read, 1.0),
            top1=float(right.sum()) / count,
            top5=top_k / count,
            macro=sum(present) / max(len(present), 1),
            majority=float(total.max()) / max(read, 1.0),
            per_class=per_class,
            confusion=confusion.tolist(),
        )


def negative_log(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of probabilities (B, K) against labels (B,); finite where one is 0."""
    picked = probabilities.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    return -picked.clamp(min=torch.finfo(picked.dtype).tiny).log()
