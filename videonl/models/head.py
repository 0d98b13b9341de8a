"""The classifier of the ResNet3D family, at one cell or at many."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from videonl.models.presets import Preset


class Head(nn.Module):
    """Average pool, dropout, linear classifier, and the average over cells where there are many."""

    def __init__(self, channels: int, num_classes: int, dropout: float, graph: Preset) -> None:
        super().__init__()
        if graph.head_pool not in ("global", "sliding"):
            raise ValueError(f"head_pool is {graph.head_pool!r}; it must be global or sliding")
        if graph.head_average not in ("logits", "probabilities"):
            raise ValueError(
                f"head_average is {graph.head_average!r}; it must be logits or probabilities"
            )
        self.pool, self.window, self.average = (
            graph.head_pool,
            tuple(graph.head_window),
            graph.head_average,
        )
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(channels, num_classes)

    def cells(self, features: Tensor) -> Tensor:
        """Logits of every cell: (B, C, T, H, W) -> (B, K, 1, H', W'), one cell when global."""
        if self.pool == "global":
            pooled = features.mean((2, 3, 4), keepdim=True)
        else:
            window = [min(w, s) for w, s in zip(self.window, features.shape[3:], strict=True)]
            # Time first, by itself: an exported graph may then get any number of frames.
            pooled = F.avg_pool3d(features.mean(2, keepdim=True), (1, *window), stride=1)
        return self.projection(self.dropout(pooled.movedim(1, -1))).movedim(-1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features (B, C, T, H, W).

        The published networks that average probabilities over cells return, for several cells,
        the logarithm of that average, so that softmax(logits) is the published probability.
        """
        cells = self.cells(features).flatten(2)  # (B, K, cells)
        if self.average == "logits" or cells.shape[2] == 1:
            return cells.mean(2)
        return cells.log_softmax(1).logsumexp(2) - math.log(cells.shape[2])
