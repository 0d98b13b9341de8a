"""Batches that know the labels of the videos that could not be read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Batch = dict[str, Any]


class LabelMissing:
    """Adds ``missing_labels``: for every entry of ``missing``, all its class numbers.

    In a ranking of many classes, a video that can not be read counts in each of its own.

    Args:
        collate: makes the batch.
        labels: class number per index of the data set.
        several: index -> all class numbers, of the videos with more than one.
    """

    def __init__(
        self,
        collate: Callable[[Sequence[Any]], Batch],
        *,
        labels: Sequence[int] | np.ndarray,
        several: Mapping[int, Sequence[int]],
    ) -> None:
        self.collate, self.labels, self.several = collate, labels, several

    def __call__(self, items: Sequence[Any]) -> Batch:
        """The batch."""
        batch = self.collate(items)
        batch["missing_labels"] = [
            tuple(self.several.get(index, (int(self.labels[index]),)))
            for index, _, _ in batch["missing"]
        ]
        return batch
