"""A map-style data set of video files: item = uint8 views of one video, ready to stack."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from videonl.data.cache_plan import training_scaling
from videonl.data.census import is_skipped
from videonl.data.frame_cache import FrameCache
from videonl.data.passing import Travelling
from videonl.data.records import Record
from videonl.errors import DatasetError, VideoError
from videonl.shares import counted
from videonl.video.preprocessing import Preprocessing, sample_generator
from videonl.video.transforms import crop as cut
from videonl.video.transforms import random_resized_crop, scaled
from videonl.video.video import Decoder, open_video
from videonl.video.views import Readable, read_views, settled

Batch = dict[str, Any]


class LabelMissing:
    """Wraps ``collate`` and adds the classes of missing videos to each evaluation batch.

    ``missing_labels`` holds all class numbers of every entry of ``missing``; ``views`` the number
    of views. A video that cannot be read counts as wrong in each of its classes and views.

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


Item = dict[str, Any]


class VideoDataset(Dataset[Item]):
    """Videos as uint8 views.

    An item is ``{"video": uint8 (V, T, H, W, 3), "label": int, "index": int, "path": str}``. In
    training there is one view: a random clip, short side jittered, cropped at random; a whole
    picture is scaled a little and placed at random in its rectangle. In evaluation the views are
    those of its preprocessing (views.py).

    An index is an ``int`` or a pair ``(epoch, index)``: all randomness of a sample comes from
    ``(seed, epoch, index, rank)``, whichever worker draws it.

    A bad file in evaluation gives an item with ``"error"`` and no video; in training another video
    is drawn in its place and ``"replaced"`` holds ``(path, reason)`` of every file that failed.
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
        cache: FrameCache | None = None,
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
            attempts: videos tried in a row before training stops.
            skip: absolute path -> reason, of videos that must not be read.
            resized_crop: smallest and largest share of the picture of a random box.
            cache: of decoded frames; makes items faster, never different.
        """
        if not records:
            raise DatasetError("the data set has no videos; give at least one record")
        self.paths = np.array([os.fspath(r.path) for r in records], dtype=np.str_)
        self.labels = np.array([-1 if r.label is None else r.label for r in records], np.int64)
        self.preprocessing = Preprocessing.from_dict(preprocessing)
        self.training = training
        self.jitter = jitter or (self.preprocessing.short_side,) * 2
        self.seed, self.rank = seed, rank
        self.decoder = decoder
        self.attempts = attempts
        self.resized_crop = resized_crop
        self.cache = cache
        self._scaling = training_scaling(self.preprocessing, self.jitter)
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
            size = counted(len(self), "video")
            raise IndexError(f"index {index} is outside a data set of {size}")
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
            with self._open(index) as video:
                frames = read_views(video, self.preprocessing).frames
        except VideoError as error:
            return {"index": index, "path": str(self.paths[index]), "error": str(error)}
        return self._item(index, frames)

    def _open(self, index: int) -> AbstractContextManager[Readable]:
        """A video, or its stored frames, which give the same pictures."""
        path = str(self.paths[index])
        if self.cache is None:
            return open_video(path, decoder=self.decoder)
        return self.cache.open(path, self._stored)

    def _stored(self, video: Readable) -> Sequence[int]:
        """Frames to store: all of them in training, those of the views in a test."""
        if self.training:
            return range(video.num_frames)
        shown, clock = settled(video, self.preprocessing)
        return sorted({i for clip in shown.indices(video.num_frames, **clock) for i in clip})

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
            f"{counted(self.attempts, 'video')} in a row cannot be read, the last: "
            f"{replaced[-1][1]}; "
            "run videonl check on the data folder"
        )

    def _random_clip(self, index: int, generator: np.random.Generator) -> torch.Tensor:
        low, high = self.jitter
        short_side = int(generator.integers(low, high + 1))
        with self._open(index) as video:
            shown, clock = settled(video, self.preprocessing)
            indices = shown.random_indices(video.num_frames, generator, **clock)
            frames = video.read(indices, **self._scaling)  # (T, H, W, 3)
        return self._cut(frames, short_side, generator)[None]

    def _cut(
        self, frames: torch.Tensor, short_side: int, generator: np.random.Generator
    ) -> torch.Tensor:
        """Cut a training clip out of frames at their stored size, (T, H, W, 3)."""
        if self.resized_crop is not None:
            size = self.preprocessing.crop
            return random_resized_crop(frames, size, generator, area=self.resized_crop)
        frames = scaled(frames, **self.preprocessing.scaled_for_training(short_side))
        box = self.preprocessing.random_box(frames.shape[1], frames.shape[2], generator)
        return cut(frames, *box, fill=self.preprocessing.padding).contiguous()


class TimedLoader(DataLoader[Item]):
    """A DataLoader that measures in ``waited`` the seconds spent waiting for batches."""

    waited = 0.0

    def __iter__(self) -> Any:
        """Iterate over the batches; the workers start at once."""
        return self._timed(super().__iter__())

    def _timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            begin = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - begin
            if batch is None:
                return
            yield batch


def collate(items: Sequence[Item]) -> dict[str, Any]:
    """Stack items into a batch.

    Returns:
        ``video`` uint8 (B, V, T, H, W, 3); ``label``, ``index`` and ``seed`` (of the augmentation)
        int64 (B,); ``path`` and ``labels`` (all classes of a multi-label video) lists of B;
        and

        - ``missing``: ``[(index, path, reason)]`` of the videos of an evaluation batch that cannot
          be read; they are *not* among the B (which may be 0: then ``video`` is empty);
        - ``replaced``: ``[(path, reason)]`` of the training videos that others were drawn for.
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
