"""The data set and the data module: order, randomness, processes, bad files."""

import functools
import operator
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.odd_videos import sound_alone
from tests.videos import read_number, write_video
from videonl.data import (
    EvaluationSampler,
    Record,
    TrainingSampler,
    VideoDataModule,
    VideoDataset,
    collate,
    write_skip_list,
)
from videonl.errors import DatasetError

SMALL = {"frames": 2, "stride": 2, "short_side": 64, "crop": 48}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with three videos in train and two in val."""
    root = tmp_path_factory.mktemp("good")
    for split, count in (("train", 3), ("val", 2)):
        for name in ("a", "b"):
            for i in range(count):
                write_video(root / split / name / f"{i}.mp4", 20)
    return root


@pytest.fixture
def mixed(good: Path, tmp_path: Path) -> Path:
    """The same with bad files among the good ones."""
    root = tmp_path / "mixed"
    shutil.copytree(good, root)
    for split in ("train", "val"):
        (root / split / "a" / "zero.mp4").touch()
        (root / split / "a" / "text.mp4").write_text("this is no video\n" * 30)
        sound_alone(root / split / "b" / "audio.mp4")
    return root


def module(root: Path, **options: object) -> VideoDataModule:
    values = {**SMALL, "batch_size": 2, "num_workers": 0, "views": (2, 3), **options}
    data = VideoDataModule(str(root), **values)  # type: ignore[arg-type]
    data.setup()
    return data


def epoch(data: VideoDataModule, number: int) -> list[tuple[int, bytes, int]]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
    found = []
    for batch in loader:
        videos = data.augmented(batch)
        for index, video, seed in zip(batch["index"], videos, batch["seed"], strict=True):
            found.append((int(index), video.numpy().tobytes(), int(seed)))
    return found


def test_batches(good: Path) -> None:
    data = module(good)
    assert data.class_names == ["a", "b"]
    assert data.num_classes == 2
    assert data.census == {"train": {"a": 3, "b": 3}, "val": {"a": 2, "b": 2}}
    batch = next(iter(data.train_dataloader()))
    assert batch["video"].shape == (2, 1, 2, 48, 48, 3)
    assert batch["video"].dtype == torch.uint8
    batch = next(iter(data.evaluation_loader("val", (2, 3))))
    assert batch["video"].shape == (1, 6, 2, 48, 48, 3)  # as large as in training
    assert [label for b in data.val_dataloader() for label in b["label"].tolist()] == [0, 0, 1, 1]
    with pytest.raises(DatasetError, match=r"has no test folder .it has: train, val"):
        data.setup("test")
    with pytest.raises(DatasetError, match="crop=70 is larger than short_side=64"):
        VideoDataModule(str(good), short_side=64, crop=70)


def test_randomness_does_not_depend_on_workers(good: Path) -> None:
    options = {"rand_augment": 1, "erasing": 0.5}
    alone = module(good, **options)
    first = [epoch(alone, 0), epoch(alone, 1)]
    assert sorted(i for i, *_ in first[0]) == list(range(6))
    assert [s for *_, s in first[0]] != [s for *_, s in first[1]]
    for workers, batch_size in ((2, 2), (0, 3)):
        other = module(good, num_workers=workers, batch_size=batch_size, **options)
        assert [epoch(other, 0), epoch(other, 1)] == first
    assert epoch(module(good, seed=1, **options), 0) != first[0]


def test_random_starts_differ_between_epochs(good: Path) -> None:
    data = module(good, crop=64, jitter=(64, 64))
    dataset = data.train_dataloader().dataset
    starts = {read_number(dataset[e, 0]["video"][0, 0].numpy()) for e in range(12)}
    assert len(starts) > 5
    assert dataset[3, 0]["video"].equal(dataset[3, 0]["video"])


def test_samplers_share_without_padding() -> None:
    for length in range(1, 12):
        for world in (1, 2, 3, 4):
            parts = [
                list(EvaluationSampler(length, rank=r, world_size=world)) for r in range(world)
            ]
            assert sorted(functools.reduce(operator.iadd, parts, [])) == list(range(length))
            train = [TrainingSampler(length, rank=r, world_size=world) for r in range(world)]
            shares = [[i for _, i in sampler] for sampler in train]
            assert len({len(share) for share in shares}) == 1
            assert [len(share) for share in shares] == [len(sampler) for sampler in train]
            if length >= world:
                assert len(set(functools.reduce(operator.iadd, shares, []))) == sum(
                    map(len, shares)
                )


def test_bad_files_in_evaluation_are_reported_not_replaced(mixed: Path) -> None:
    data = module(mixed)
    batches = list(data.val_dataloader())
    missing = [entry for batch in batches for entry in batch["missing"]]
    assert sum(len(batch["label"]) for batch in batches) == 4
    assert [Path(path).name for _, path, _ in missing] == ["text.mp4", "zero.mp4", "audio.mp4"]
    reasons = [reason for *_, reason in missing]
    assert "not a readable video file" in reasons[0]
    assert "empty (0 bytes)" in reasons[1]
    assert len({index for index, *_ in missing}) == 3


def test_bad_files_in_training_are_replaced_and_told(mixed: Path) -> None:
    data = module(mixed)
    batches = list(data.train_dataloader())
    replaced = {Path(path).name for batch in batches for path, _ in batch["replaced"]}
    assert replaced == {"text.mp4", "zero.mp4", "audio.mp4"}
    assert sum(len(batch["label"]) for batch in batches) == 8  # nine, two per batch


def test_training_stops_above_the_share(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videonl.data.datamodule.FEW_BAD_FILES", 2)
    data = module(mixed)
    trainer = {"training": True, "global_rank": 0, "world_size": 1, "max_epochs": 1}
    data.trainer = SimpleNamespace(**trainer, overfit_batches=0)  # type: ignore
    batches = list(data.train_dataloader())
    words = r"3 of 9 training videos cannot be read.*videonl check"
    with pytest.raises(DatasetError, match=words):
        [data.on_after_batch_transfer(batch, 0) for batch in batches]


def test_all_files_bad(tmp_path: Path) -> None:
    dataset = VideoDataset(
        [Record(str(tmp_path / "absent.mp4"), (0,))], preprocessing=SMALL, training=True
    )
    with pytest.raises(DatasetError, match="8 videos in a row"):
        dataset[0]
    with pytest.raises(IndexError, match="outside a data set of 1"):
        dataset[1]
    with pytest.raises(DatasetError, match="has no videos"):
        VideoDataset([], preprocessing=SMALL)
    empty = collate([VideoDataset([Record("absent.mp4", (0,))], preprocessing=SMALL)[0]])
    assert len(empty["video"]) == 0
    assert len(empty["missing"]) == 1


def test_skip_list_is_honoured(mixed: Path) -> None:
    bad = {str(p): "broken" for p in mixed.rglob("*.mp4") if p.stem in ("zero", "text", "audio")}
    write_skip_list(mixed, mixed / "videonl_skip.tsv", bad)
    data = module(mixed)
    assert data.census["train"] == {"a": 3, "b": 3}
    batches = list(data.train_dataloader())
    assert not any(batch["replaced"] for batch in batches)
    assert sum(len(batch["label"]) for batch in batches) == 6
    missing = [entry for batch in data.val_dataloader() for entry in batch["missing"]]
    assert len(missing) == 3
    assert all("on the skip list (broken)" in reason for *_, reason in missing)
    assert not data.catalogue.notes


def test_a_skip_list_of_which_no_line_is_a_file_is_told(good: Path, tmp_path: Path) -> None:
    (tmp_path / "skip.tsv").write_text("a/0.mp4\tbroken\n")  # train/a/0.mp4 is meant
    (note,) = module(good, skip_list=str(tmp_path / "skip.tsv")).catalogue.notes
    assert note.startswith(f"no line of the skip list {tmp_path / 'skip.tsv'} is a file")
    assert str(good / "a" / "0.mp4") in note


def test_flip_exceptions_are_class_names(good: Path) -> None:
    assert module(good, flip_exceptions=["B"]).augmentation.flip_exceptions == {1}
    with pytest.raises(DatasetError, match="flip_exceptions names 'left'"):
        module(good, flip_exceptions=["left"])


def test_resuming_within_an_epoch(good: Path) -> None:
    data = module(good)
    whole = [batch["index"].tolist() for batch in data.train_dataloader()]
    data.skip_batches = 1
    loader = data.train_dataloader()
    assert len(loader) == len(whole)
    assert [batch["index"].tolist() for batch in loader] == whole[1:]
    assert [batch["index"].tolist() for batch in loader] == whole  # the next epoch is whole


def test_resized_crop(good: Path) -> None:
    batch = next(iter(module(good, resized_crop=(0.2, 0.6)).train_dataloader()))
    assert batch["video"].shape == (2, 1, 2, 48, 48, 3)
