"""Pictures kept in memory: the same batches, decoded once, up to the limit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.small_data import DATA, write_small_data
from videonl.data import dataset as dataset_module
from videonl.data.datamodule import VideoDataModule
from videonl.data.dataset import ClipMemory
from videonl.errors import DatasetError


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


def test_every_video_is_opened_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = dataset_module.open_video

    def counting(path: str, **options: object) -> object:
        opened.append(path)
        return real(path, **options)

    monkeypatch.setattr(dataset_module, "open_video", counting)
    # 12 frames, 4 of them 4 apart: one clip only; no jitter: one size only.
    list(batches(root, jitter=(36, 36), memory_mb=50))
    assert len(opened) == len(set(opened)) == 6 + 2
    opened.clear()
    list(batches(root, jitter=(36, 36)))
    assert len(opened) == 3 * 8


def test_the_limit_holds() -> None:
    memory = ClipMemory(250)
    made = []

    def make() -> torch.Tensor:
        made.append(1)
        return torch.zeros(100, dtype=torch.uint8)

    for _ in range(2):
        for key in range(4):
            memory.get(key, make)
    assert memory.used == 200
    assert len(made) == 4 + 2


def test_a_negative_size_is_refused(root: Path) -> None:
    with pytest.raises(DatasetError, match="memory_mb=-1"):
        VideoDataModule(str(root), memory_mb=-1)
