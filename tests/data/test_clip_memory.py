"""Pictures kept in memory: the same batches, decoded once, up to the limit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.small_data import DATA, write_small_data
from videonl.data import Record, VideoDataModule, VideoDataset
from videonl.errors import VideoNLError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), train=3, val=1)


def batches(root: Path, **options: object) -> Iterator[torch.Tensor]:
    data = VideoDataModule(str(root), **{**DATA, "stride": 4, **options})
    data.setup("fit")
    train, val = data.train_dataloader(), data.val_dataloader()
    for epoch in range(3):
        train.sampler.set_epoch(epoch)
        for batch in [*train, *val]:
            yield batch["video"]


@pytest.mark.parametrize("jitter", [(36, 36), (36, 40)])
def test_the_batches_are_the_same(root: Path, jitter: tuple[int, int]) -> None:
    plain = list(batches(root, jitter=jitter))
    kept = list(batches(root, jitter=jitter, memory_mb=50))
    assert len(plain) == len(kept) == 3 * 4
    assert all(torch.equal(one, other) for one, other in zip(plain, kept, strict=True))


def test_what_is_in_memory_is_not_read_again(tmp_path: Path) -> None:
    files = sorted(write_small_data(tmp_path, train=2, val=0).rglob("*.mp4"))
    shape = {"frames": 4, "stride": 4, "short_side": 36, "crop": 36, "views": (1, 1)}
    one_clip = 4 * 36 * 36 * 3

    def readable_after_loss(memory: int) -> int:
        kept = VideoDataset(
            [Record(str(path), 0) for path in files], preprocessing=shape, memory=memory
        )
        before = [item["video"] for item in kept]
        for path in files:
            path.rename(path.with_suffix(".away"))
        after = list(kept)
        for path in files:
            path.with_suffix(".away").rename(path)
        found = [i for i, item in enumerate(after) if "error" not in item]
        assert all(torch.equal(before[i], after[i]["video"]) for i in found)
        assert kept.memory.used <= memory
        return len(found)

    assert readable_after_loss(4 * one_clip) == 4
    assert readable_after_loss(2 * one_clip + one_clip // 2) == 2
    assert readable_after_loss(0) == 0


def test_a_training_video_is_opened_once(tmp_path: Path) -> None:
    root = write_small_data(tmp_path, train=3, val=1)
    # 12 frames, 4 of them 4 apart: one clip only; no jitter: one size only.
    options = {**DATA, "stride": 4, "jitter": (36, 36), "memory_mb": 50}
    data = VideoDataModule(str(root), **options)
    data.setup("fit")
    loader = data.train_dataloader()
    first = [batch["video"] for batch in loader]
    for path in root.rglob("*.mp4"):
        path.unlink()
    assert not any(batch["replaced"] for batch in loader)
    assert len(first) == 3


def test_a_negative_size_is_refused(root: Path) -> None:
    with pytest.raises(VideoNLError, match="memory_mb=-1"):
        VideoDataModule(str(root), memory_mb=-1)
