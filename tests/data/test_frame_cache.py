"""Frames on disk: the same batches to the bit, decoded once; whatever happens to the cache."""

import fcntl
import os
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.small_data import DATA, FLAGS, write_small_data
from tests.videos import write_video
from videonl.claims import LOCK
from videonl.cli.main import main
from videonl.data import VideoDataModule
from videonl.video import Preprocessing

Shown = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
WHOLE = Preprocessing(
    frames=4,
    stride=1,
    short_side=36,
    crop=32,
    mean=(0.4, 0.4, 0.4),
    std=(0.2, 0.2, 0.2),
    views=(2, 1),
    sampling="segments",
    picture="whole",
    rectangle=(32, 48),
)
# Jitter above and at the stored size, boxes of any shape, by time, workers, several views.
CASES: tuple[dict[str, Any], ...] = (
    {"jitter": (36, 60)},
    {"jitter": (32, 36), "num_workers": 1},
    {"jitter": (36, 36), "resized_crop": (0.1, 1.0)},
    {"jitter": (33, 38), "fps": 10.0, "val_views": (2, 3)},
    {"jitter": (33, 50), "preprocessing": WHOLE},
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small videos; one that only decoding tells, one of another rate, one damaged at its end."""
    root = write_small_data(tmp_path_factory.mktemp("data"), train=2, val=1)
    write_video(root / "train" / "dark" / "odd.avi", 14, codec="mpeg4", options={"bf": "2"})
    write_video(root / "train" / "light" / "fast.mp4", 30, fps=60)
    broken = write_video(root / "train" / "light" / "broken.mp4", 30)
    broken.write_bytes(broken.read_bytes()[:-400])
    return root


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: Patch) -> Path:
    monkeypatch.setenv("VIDEONL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "frames"


def module(root: Path, *, keep: bool = True, **options: object) -> tuple[VideoDataModule, str]:
    data = VideoDataModule(str(root), **{**DATA, **options})
    data.setup("fit")
    return data, data.keep_decoded(9 if keep else 1)


def batches(data: VideoDataModule, epochs: int = 2) -> Iterator[torch.Tensor]:
    train, val = data.train_dataloader(), data.val_dataloader()
    for epoch in range(epochs):
        train.sampler.set_epoch(epoch)
        for batch in [*train, *val]:
            yield batch["video"]


def same(one: Iterator[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def entries(cache: Path) -> list[Path]:
    return sorted(p for p in cache.rglob("*") if p.is_file() and not p.name.startswith("."))


@pytest.mark.parametrize("options", CASES)
def test_the_batches_are_the_same(root: Path, cache: Path, options: dict[str, Any]) -> None:
    plain = list(batches(module(root, keep=False, **options)[0]))
    assert not cache.exists()
    data, said = module(root, **options)
    assert said == f"9 videos, decoded once: {said.split(': ')[1].split(' in ')[0]} in {cache}"
    assert same(batches(data), plain)  # filled here, read there
    assert same(batches(module(root, **options)[0]), plain)
    assert len(entries(cache)) >= 8
    assert cache.stat().st_mode & 0o777 == 0o700


def test_what_is_stored_is_not_decoded_again(root: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "data")
    (tmp_path / "data/train/light/broken.mp4").unlink()
    data, _ = module(tmp_path / "data")
    before = list(batches(data, 1))
    for file in (tmp_path / "data").rglob("*.*"):
        status = file.stat()
        file.write_bytes(bytes(status.st_size))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert same(batches(data, 1), before)
    for file in (tmp_path / "data").rglob("*.*"):
        os.utime(file)  # changed since: what is stored is of another video
    with pytest.raises(Exception, match="cannot be read"):
        list(batches(data, 1))


def test_files_that_are_not_whole_are_not_believed(root: Path, cache: Path) -> None:
    data, _ = module(root)
    plain = list(batches(data))
    for number, file in enumerate(entries(cache)):
        content = bytearray(file.read_bytes())
        if number % 3 == 0:
            content = content[:-1]
        elif number % 3 == 1:
            content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        else:
            content = bytearray(b"no frames")
        file.write_bytes(content)
    assert same(batches(data), plain)
    assert same(batches(module(root)[0]), plain)


def test_where_it_can_not_lie(root: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    plain = list(batches(module(root, keep=False)[0]))
    (tmp_path / "file").touch()
    (tmp_path / "open" / "frames").mkdir(parents=True)
    (tmp_path / "open" / "frames").chmod(0o777)
    for place, words in (("file", "no cache in"), ("open", "other users may write there")):
        monkeypatch.setenv("VIDEONL_CACHE", str(tmp_path / place))
        data, said = module(root)
        assert said.startswith("9 videos, decoded in every epoch: ")
        assert words in said
        assert same(batches(data), plain)
    assert list((tmp_path / "open" / "frames").iterdir()) == []
    monkeypatch.setenv("VIDEONL_CACHE", str(tmp_path / "full"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=200_000))
    data, said = module(root)
    assert "their frames need 1." in said or "their frames need 0." in said
    assert "may take 0.1 MB" in said
    assert same(batches(data), plain)


def test_a_disk_that_gets_full(root: Path, cache: Path, capfd: Shown) -> None:
    plain = list(batches(module(root, keep=False)[0]))
    data, _ = module(root)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        assert same(batches(data), plain)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = capfd.readouterr().err
    assert "note: no more frames are stored" in said
    assert all(file.stat().st_size <= 20_000 for file in cache.rglob("*"))


def test_what_nobody_uses_makes_way(root: Path, cache: Path, monkeypatch: Patch) -> None:
    def filled(side: int, age: float) -> tuple[VideoDataModule, Path]:
        data, _ = module(root, jitter=(36, side))
        list(batches(data, 1))
        if side != 37:
            data.teardown("fit")
        folder = data.caches["train"].folder
        os.utime(folder, (time.time() - age,) * 2)
        return data, folder

    def disk(budget: float) -> None:
        free = SimpleNamespace(free=4 * budget - sum(f.stat().st_size for f in entries(cache)))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: free)

    (_, year), (running, month), (_, day) = (
        filled(side, age) for side, age in ((36, 3e7), (37, 2e6), (38, 1e5))
    )
    need = sum(file.stat().st_size for file in day.iterdir())
    disk(4.5 * need)  # room for all
    assert "decoded once" in module(root, jitter=(36, 37))[1]
    assert [p.exists() for p in (year, month, day)] == [False, True, True]  # too old for any room
    disk(2.8 * need)
    data, said = module(root, jitter=(36, 39))
    assert "decoded once" in said
    assert [p.exists() for p in (month, day)] == [True, False]  # a training holds the older one
    data.teardown("fit")
    disk(2.0 * need)
    assert "other trainings use" in module(root, jitter=(36, 40))[1]
    running.teardown("fit")
    assert "decoded once" in module(root, jitter=(36, 40))[1]
    assert not month.exists()


def test_one_that_is_being_removed(root: Path, cache: Path) -> None:
    data, _ = module(root)
    train, val = (data.caches[split].folder for split in ("train", "val"))
    data.teardown("fit")
    with open(val / LOCK, "wb") as other, open(train / LOCK, "wb") as free:
        fcntl.flock(other, fcntl.LOCK_EX)  # as a process that removes it
        assert "no cache in" in data.keep_decoded(9)
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nothing is held that is not used
    data.teardown("fit")
    assert "decoded once" in data.keep_decoded(9)


def test_what_cures_waiting(root: Path, cache: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))
    data = module(root, keep=False, jitter=(36, 45), num_workers=1)[0]
    assert data.cure_for_waiting(on_cpu=False) == "raise --data.num_workers (1 now, 4 cores)"
    again = f"re-encode them for fast access: videonl prepare {root} DIR --short-side 45"
    assert data.cure_for_waiting(on_cpu=True) == again
    data = module(root, keep=False, jitter=(36, 45), num_workers=4)[0]
    assert data.cure_for_waiting(on_cpu=False) == again
    data = module(root, jitter=(36, 45))[0]  # decoded once
    assert data.cure_for_waiting(on_cpu=True) == ""


def test_a_training_says_it(root: Path, cache: Path, tmp_path: Path, capfd: Shown) -> None:
    config = tmp_path / "old.yaml"
    config.write_text("data: {memory_mb: 400}\n", encoding="utf-8")
    words = ["train", "fit", "--data.root", str(root), *FLAGS, "--out", str(tmp_path / "runs")]
    words += ["--model.name", "tiny_c2d", "--model.options.width", "8"]
    words += ["--trainer.accelerator", "cpu", "--trainer.max_epochs"]
    assert main([*words, "3", "--config", str(config)]) == 0
    shown = capfd.readouterr()
    assert "frames    9 videos, decoded once: 0." in shown.out
    assert f"note      {config}: data.memory_mb was removed and is ignored" in shown.err
    assert len(entries(cache)) >= 8
    assert main([*words, "2", "--data.memory_mb", "4"]) == 2
    assert "--data.memory_mb was removed (a data set that fits" in capfd.readouterr().err
