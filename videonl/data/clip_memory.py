"""Decoded pictures kept in memory, for data sets that are small enough to be decoded once."""

from collections.abc import Callable, Hashable

import numpy as np
import torch

# Frames; and where clips are taken by time, when each appears and when the last disappears.
Length = tuple[int, np.ndarray | None, float | None]


class ClipMemory:
    """Tensors by key, up to a limit; what comes after it is full is made anew every time.

    The values are what decoding gives, so a memory changes the time of a training and nothing else.
    Each process has its own: with ``num_workers=0`` every video is decoded once, with workers once
    per worker at most.
    """

    def __init__(self, limit: int) -> None:
        """Keep at most ``limit`` bytes; 0 keeps nothing."""
        self.limit, self.used = limit, 0
        self.kept: dict[Hashable, torch.Tensor] = {}
        self.lengths: dict[Hashable, Length] = {}

    def length(self, key: Hashable, read: Callable[[], Length]) -> Length:
        """The length of a video; ``read`` is called if it is not known or nothing is kept."""
        if key not in self.lengths or not self.limit:
            self.lengths[key] = read()
        return self.lengths[key]

    def get(self, key: Hashable, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The tensor of that key; ``make`` is called if it is not there."""
        found = self.kept.get(key)
        if found is not None:
            return found
        made = make()
        size = made.numel() * made.element_size()
        if self.used + size <= self.limit:
            self.kept[key] = made
            self.used += size
        return made
