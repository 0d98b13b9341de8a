"""A map-style data set of video files: item = uint8 views of one video, ready to stack."""

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from videonl.data.passing import Travelling
from videonl.data.records import Record
from videonl.data.skip_list import is_skipped
from videonl.errors import DatasetError, VideoError
from videonl.video.preprocessing import Preprocessing
from videonl.video.sampling import sample_generator
from videonl.video.transforms import crop as cut
from videonl.video.transforms import random_resized_crop
from videonl.video.video import Decoder, Video, open_video
from videonl.video.views import read_views, settled

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
        return batch if get_worker_info() is None else Travelling(batch)


# Frames; what to show of them; where clips are taken by time, `times` and `end` of the frames.
Length = tuple[int, Preprocessing, dict[str, Any]]


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


Item = dict[str, Any]


class VideoDataset(Dataset[Item]):
    """Videos as uint8 views.

    An item is ``{"video": uint8 (V, T, H, W, 3), "label": int, "index": int, "path": str}``. In
    training there is one view: a random clip, short side jittered, cropped at random; a whole
    picture is a little larger or smaller than its rectangle, at a random place there. In
    evaluation the views are those of its preprocessing (views.py).

    An index is an ``int`` or a pair ``(epoch, index)``: all randomness of a sample comes from
    ``(seed, epoch, index, rank)``, whichever worker draws it.

    A bad file in evaluation gives an item with ``"error"`` and no video; in training another video
    is drawn in its place and ``"replaced"`` tells ``(path, reason)`` of every file that failed.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        preprocessing: Preprocessing | Mapping[str, Any],
        training: bool = False,
        jitter: tuple[int, int] | None = None,
        seed: int = 0,
        rank: int = 0,
        decoder: Decoder = "auto",
        attempts: int = 8,
        skip: Mapping[str, str] | None = None,
        resized_crop: tuple[float, float] | None = None,
        memory: int = 0,
    ) -> None:
        """Make the data set; nothing is opened before an item is asked for.

        Args:
            records: the videos and their labels.
            preprocessing: what the network is shown, also as a table of primitives.
            training: one random clip per video, else the views of a test.
            jitter: range of the short side in training; default ``short_side``. Whole pictures are
                scaled by the same share.
            seed: of order and augmentation.
            rank: of this process.
            decoder: see :func:`videonl.video.video.open_video`.
            attempts: videos tried in a row before a training stops.
            skip: absolute path -> reason, of videos that are not to be read.
            resized_crop: smallest and largest share of the picture of a random box.
            memory: bytes of decoded pictures to keep, see :class:`ClipMemory`.
        """
        if not records:
            raise DatasetError("a data set without videos: nothing to read")
        self.paths = np.array([os.fspath(r.path) for r in records], dtype=np.str_)
        self.labels = np.array([-1 if r.label is None else r.label for r in records], np.int64)
        self.preprocessing = Preprocessing.from_dict(preprocessing)
        self.training = training
        self.jitter = jitter or (self.preprocessing.short_side,) * 2
        self.seed, self.rank = seed, rank
        self.decoder = decoder
        self.attempts = attempts
        self.resized_crop = resized_crop
        self.memory = ClipMemory(memory)
        self.several = {i: r.labels for i, r in enumerate(records) if len(r.labels) > 1}
        self.skip = {
            i: reason
            for i, path in enumerate(self.paths)
            if (reason := is_skipped(str(path), skip or {}))
        }

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside a data set of {len(self)} videos")
        return self._training_item(epoch, index) if self.training else self._test_item(index)

    def _item(self, index: int, video: torch.Tensor) -> Item:
        return {
            "video": video,
            "label": int(self.labels[index]),
            "index": index,
            "path": str(self.paths[index]),
            "labels": self.several.get(index, (int(self.labels[index]),)),
        }

    def _test_item(self, index: int) -> Item:
        try:
            if index in self.skip:
                raise VideoError(f"{self.paths[index]}: on the skip list ({self.skip[index]})")
            frames = self.memory.get(("views", index), lambda: self._views(index))
        except VideoError as error:
            return {"index": index, "path": str(self.paths[index]), "error": str(error)}
        return self._item(index, frames)

    def _views(self, index: int) -> torch.Tensor:
        with open_video(str(self.paths[index]), decoder=self.decoder) as video:
            return read_views(video, self.preprocessing).frames

    def _training_item(self, epoch: int, index: int) -> Item:
        generator = sample_generator(self.seed, epoch, index, self.rank)
        replaced: list[tuple[str, str]] = []
        chosen = index
        for _ in range(self.attempts):
            try:
                item = self._item(chosen, self._random_clip(chosen, generator))
                item["seed"] = int(generator.integers(2**62))
            except VideoError as error:
                replaced.append((str(self.paths[chosen]), str(error)))
                chosen = int(generator.integers(len(self)))
            else:
                item["replaced"] = replaced
                return item
        raise DatasetError(
            f"{self.attempts} videos in a row can not be read, the last: {replaced[-1][1]}; "
            "run `videonl check` on the data folder"
        )

    def _random_clip(self, index: int, generator: np.random.Generator) -> torch.Tensor:
        low, high = self.jitter
        short_side = int(generator.integers(low, high + 1))
        scaling = self.preprocessing.scaled_for_training(short_side)
        with ExitStack() as open_files:

            @cache  # opened once, and only where the memory does not hold what is asked for
            def video() -> Video:
                path = str(self.paths[index])
                return open_files.enter_context(open_video(path, decoder=self.decoder))

            def length_of() -> Length:
                return video().num_frames, *settled(video(), self.preprocessing)

            length, shown, clock = self.memory.length(index, length_of)
            indices = shown.random_indices(length, generator, **clock)
            frames = self.memory.get(
                (index, short_side, *indices),
                lambda: video().read(indices, **scaling),  # (T, H, W, 3)
            )
        if self.resized_crop is not None:
            size = self.preprocessing.crop
            return random_resized_crop(frames, size, generator, area=self.resized_crop)[None]
        box = self.preprocessing.random_box(frames.shape[1], frames.shape[2], generator)
        return cut(frames, *box, fill=self.preprocessing.padding).contiguous()[None]


def collate(items: Sequence[Item]) -> dict[str, Any]:
    """Stack items to a batch.

    Returns:
        ``video`` uint8 (B, V, T, H, W, 3); ``label``, ``index`` and ``seed`` (of the augmentation)
        int64 (B,); ``path`` and ``labels`` (all classes of a multi-label video) lists of B;
        and

        - ``missing``: ``[(index, path, reason)]`` of the videos of an evaluation batch that can not
          be read; they are *not* among the B (which may be 0: then ``video`` is empty);
        - ``replaced``: ``[(path, reason)]`` of the training videos another one was drawn for.
    """
    good = [item for item in items if "error" not in item]
    missing = [(i["index"], i["path"], i["error"]) for i in items if "error" in i]
    videos = [item["video"] for item in good]
    return {
        "video": torch.stack(videos)
        if videos
        else torch.zeros(0, 1, 1, 1, 1, 3, dtype=torch.uint8),
        "label": torch.tensor([item["label"] for item in good], dtype=torch.int64),
        "index": torch.tensor([item["index"] for item in good], dtype=torch.int64),
        "path": [item["path"] for item in good],
        "labels": [item["labels"] for item in good],
        "seed": torch.tensor([item.get("seed", 0) for item in good], dtype=torch.int64),
        "missing": missing,
        "replaced": [pair for item in good for pair in item.get("replaced", ())],
    }
