"""Attention between channels, beside the attention between positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from videonl.layers.positions import to_map, to_rows


class ChannelAttention(nn.Module):
    """The channel attention module of DANet, without its residual: β Σ_i x_ji A_i.

    x_ji = softmax over i of A_i · A_j, where A_i is channel i as a vector over all positions
    (Fu et al., Dual Attention Network for Scene Segmentation, CVPR 2019, arXiv 1809.02983,
    eq. 3 and 4). The scalar β starts at 0. The cost is O(N C²) and the matrix is C x C, so the
    size of the map does not matter.

    Shape:
        (B, C, *spatial) -> the same; added to the input by the block.
    """

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) -> β times the channels mixed, same shape."""
        rows = to_rows(x)
        energy = rows.transpose(1, 2) @ rows  # (B, C, C), grows with N: float32 if rows are half
        weights = torch.softmax(energy.float() if energy.dtype.itemsize < 4 else energy, dim=-1)
        mixed = rows @ weights.to(rows.dtype).transpose(1, 2)
        return self.beta.to(x.dtype) * to_map(mixed, tuple(x.shape[2:]))
