"""Batches that know the labels of the videos that could not be read."""

from collections.abc import Sequence
from typing import Any

from videonl.data.dataset import Item, VideoDataset, collate


class Collate:
    """``collate``, and ``missing_labels``: for every entry of ``missing``, all its class numbers.

    In a ranking of many classes, a video that can not be read counts in each of its own.

    Args:
        dataset: of the items.
    """

    def __init__(self, dataset: VideoDataset) -> None:
        self.labels, self.several = dataset.labels, dataset.several

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        """The batch."""
        batch = collate(items)
        batch["missing_labels"] = [
            self.several.get(index, (int(self.labels[index]),)) for index, _, _ in batch["missing"]
        ]
        return batch
