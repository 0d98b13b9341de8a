"""Accuracy that accumulates on the device: no value leaves it before the end of the epoch."""

# ruff: noqa: ARG002 (the hooks' signatures are Lightning's)

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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

    videos: int
    unread: int
    loss: float
    top1: float
    top5: float
    macro: float
    majority: float
    per_class: list[float | None]
    confusion: list[list[int]]


class ClassificationMeter(nn.Module):
    """Counts right answers per class; its buffers are not part of a checkpoint.

    Example:
        >>> meter = ClassificationMeter(3)
        >>> meter.update(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0]), torch.tensor([0.4]))
        >>> meter.scores().top1
        1.0
    """

    confusion: Tensor
    sums: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer(
            "confusion", torch.zeros(num_classes, num_classes, dtype=torch.long), persistent=False
        )
        # Right in the top k, videos read, loss, videos not read; float64 counts up to 2^53.
        self.register_buffer("sums", torch.zeros(4, dtype=torch.float64), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ClassificationMeter":
        """Move to a device, but never change the dtype: counts in half precision stop at 2048."""
        for name in ("confusion", "sums"):
            buffer = getattr(self, name)
            moved = fn(torch.zeros(1, device=buffer.device)).device
            dtype = torch.float32 if moved.type == "mps" and name == "sums" else buffer.dtype
            setattr(self, name, buffer.to(dtype).to(moved))
        return self

    @torch.no_grad()
    def update(self, scores: Tensor, labels: Tensor, losses: Tensor) -> None:
        """Count a batch.

        Args:
            scores: (B, K) logits or probabilities.
            labels: (B,) int64; a negative label is not counted.
            losses: (B,) loss per video.
        """
        known = labels >= 0
        weight = known.long()
        labels = labels.clamp(min=0)
        top = scores.topk(min(TOP_K, self.num_classes), dim=1).indices  # (B, k)
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
        self.confusion.zero_()
        self.sums.zero_()

    def scores(self) -> Scores:
        """Add up over all processes and compute. This is where the host waits for the device."""
        confusion, sums = self.confusion.clone(), self.sums.clone()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(confusion)
            torch.distributed.all_reduce(sums)
        confusion = confusion.cpu()
        top_k, read, loss, unread = sums.cpu().tolist()
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
