"""Batches that know the labels and the views of the videos that could not be read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Batch = dict[str, Any]


class LabelMissing:
    """Adds ``missing_labels``, for every entry of ``missing`` all its class numbers, and ``views``.

    A video that can not be read counts in each of its classes, in every one of its views.

    Args:
        collate: makes the batch.
        labels: class number per index of the data set.
        several: index -> all class numbers, of the videos with more than one.
        views: clips × crops of a video.
    """

    def __init__(
        self,
        collate: Callable[[Sequence[Any]], Batch],
        *,
        labels: Sequence[int] | np.ndarray,
        several: Mapping[int, Sequence[int]],
        views: int,
    ) -> None:
        self.collate, self.labels, self.several, self.views = collate, labels, several, views

    def __call__(self, items: Sequence[Any]) -> Batch:
        """The batch."""
        batch = self.collate(items)
        batch["missing_labels"] = [
            tuple(self.several.get(index, (int(self.labels[index]),)))
            for index, _, _ in batch["missing"]
        ]
        batch["views"] = self.views
        return batch
