"""A network whose block looks at what is bright, and videos with a bright square in the dark."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.videos import write_video
from videonl import Predictor
from videonl.layers import NonLocalBlock

PREPROCESSING = {
    "frames": 8,
    "stride": 3,
    "short_side": 48,
    "crop": 40,
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
}
FRAMES, SQUARE = 40, 24  # of the videos; side of the square in pixels


class Bright(nn.Module):
    """Strides as of a published network; θ is constant and φ the brightness."""

    def __init__(self, *, temporal_pool: int = 2, strength: float = 1.0, **options):
        super().__init__()
        self.stem = nn.Conv3d(3, 4, (1, 5, 5), (1, 2, 2), (0, 2, 2), bias=False)
        self.pool1 = nn.MaxPool3d((1, 3, 3), (1, 2, 2))  # no padding: half a cell to the right
        self.pool2 = nn.MaxPool3d((temporal_pool, 1, 1), (temporal_pool, 1, 1))
        self.last = nn.Conv3d(4, 4, (3, 3, 3), 1, 1, bias=False)
        self.block = NonLocalBlock(4, **{"affinity": "dot_product", **options})
        self.head = nn.Linear(4, 2)
        for conv in (self.stem, self.last):
            nn.init.constant_(conv.weight, 1 / conv.weight[0].numel())
        if self.block.affinity.embedded:
            nn.init.zeros_(self.block.theta.weight)
            nn.init.ones_(self.block.theta.bias)
            nn.init.constant_(self.block.phi.weight, strength)
        if hasattr(self.block.affinity, "weight"):
            nn.init.ones_(self.block.affinity.weight)

    def forward_features(self, x):
        x = self.pool2(self.pool1(self.stem(x)))
        return self.block(torch.relu(self.last(x)))

    def forward(self, x):
        return self.head(self.forward_features(x).mean((2, 3, 4)))


def bright_predictor(*, temporal_pool: int = 2, strength: float = 1.0, **options) -> Predictor:
    torch.manual_seed(0)
    net = Bright(temporal_pool=temporal_pool, strength=strength, **options)
    return Predictor(net, class_names=["a", "b"], preprocessing=PREPROCESSING, device="cpu")


def planted_video(
    path: Path, *, size: tuple[int, int], at: tuple[float, float], frames: range, rotation: int = 0
) -> Path:
    """A dark video of ``size`` as shown, with a bright square centred on pixel ``at``."""
    pictures = np.full((FRAMES, *size, 3), 16, np.uint8)
    top, left = (round(middle + 0.5 - SQUARE / 2) for middle in at)
    pictures[frames.start : frames.stop, top : top + SQUARE, left : left + SQUARE] = 235
    # A picture that is turned by the player is stored turned back.
    stored = np.ascontiguousarray(np.rot90(pictures, -rotation // 90, axes=(1, 2)))
    return write_video(path, stored, fps=20, options={"crf": "12"}, rotation=rotation)


def centroid(found) -> tuple[float, float, float]:
    """Mean (clip frame, row, column of the file) of the weights above half their maximum."""
    weights = found.weights.double().clamp(min=0)
    # The dark rest and the blur around the square weigh little, but there is much of it.
    weights = (weights - 0.5 * weights.max()).clamp(min=0)
    grids = torch.meshgrid(*(torch.arange(n).double() for n in weights.shape), indexing="ij")
    t, i, j = (float((weights * grid).sum() / weights.sum()) for grid in grids)
    time, row, column = found.keys.at((t, i, j))
    return time, *found.clip.to_file(row, column)
