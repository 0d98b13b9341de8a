"""Two processes are one training: same losses, same metrics, nothing twice, nothing left out."""

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.small_data import FLAGS, write_small_data
from videonl.data import BalancedSampler
from videonl.training import read_metrics

ROOT = Path(__file__).resolve().parents[2]
FIT = [
    *("--model.name", "tiny_i3d_nl1", "--model.options.width", "8", "--model.options.dropout", "0"),
    # Batch statistics differ between one process and two, by definition.
    *("--recipe.batch_norm", "frozen", "--recipe.reference_batch", "4"),
    *("--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "1"),
]


def train_py(*argv: str, devices: int) -> str:
    strategy = "ddp" if devices > 1 else "auto"
    flags = ["--trainer.devices", str(devices), "--trainer.strategy", strategy]
    command = [sys.executable, "train.py", *argv, "--trainer.accelerator", "cpu", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def column(folder: Path, key: str) -> list[float]:
    return [row[key] for row in read_metrics(folder / "metrics.csv") if key in row]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_train_and_test_as_one(tmp_path: Path) -> None:
    data = write_small_data(tmp_path / "data", train=4, val=3)
    folders = {}
    for devices in (1, 2):
        batch = ["--data.batch_size", str(4 // devices)]
        out = tmp_path / f"runs{devices}"
        root = ["--data.root", str(data), "--out", str(out)]
        train_py("fit", *root, *FIT, *FLAGS, *batch, devices=devices)
        folders[devices] = next(path.parent for path in out.glob("*/*/metrics.csv"))
    for key in ("train/epoch_loss", "val/loss"):
        one, two = column(folders[1], key), column(folders[2], key)
        assert len(one) == 2
        assert two == pytest.approx(one, rel=1e-5)
    for key in ("train/top1", "val/top1", "val/macro"):
        assert column(folders[2], key) == column(folders[1], key)
    on = ["--resume", str(folders[2]), "--trainer.max_epochs", "3", "--data.batch_size", "2"]
    said = train_py("fit", "--data.root", str(data), *FIT, *FLAGS, *on, devices=1)
    assert "processes: 2 at the checkpoint, 1 now" in said
    assert "global batch 2 = 2 clips × 1 device" in said
    results: dict[int, Any] = {}
    for devices in (1, 2):
        file = tmp_path / f"result{devices}.json"
        check = ["--checkpoint", str(folders[1] / "last.ckpt"), "--data.root", str(data)]
        train_py("test", *check, *FLAGS, "--json", str(file), devices=devices)
        results[devices] = json.loads(file.read_text())
    assert results[1]["confusion"] == results[2]["confusion"]
    assert results[1]["scores"]["videos"] == results[2]["scores"]["videos"] == 6
    table = tmp_path / "all.csv"
    train_py("predict", *check, *FLAGS, "--csv", str(table), devices=2)
    paths = [row["path"] for row in csv.DictReader(table.open(newline=""))]
    assert len(paths) == len(set(paths)) == 6
    assert paths == sorted(paths, key=Path)
    assert not list(tmp_path.glob("all.*.csv"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fewer_videos_than_processes(tmp_path: Path) -> None:
    data = write_small_data(tmp_path / "data", train=1, val=1, test=1)
    out = tmp_path / "runs"
    root = ["--data.root", str(data), *FLAGS]
    said = train_py("fit", *root, *FIT, "--out", str(out), devices=3)
    assert [said.count(word) for word in ("data  ", "best  ", "next  ")] == [1, 1, 1]
    (run,) = out.glob("*/*")
    assert len(column(run, "val/loss")) == 2
    results: dict[int, Any] = {}
    for devices in (1, 3):
        file = tmp_path / f"result{devices}.json"
        words = ["--checkpoint", str(run), *root, "--json", str(file)]
        said = train_py("test", *words, devices=devices)
        assert said.count("result  ") == said.count("by the network's own protocol") == 1
        assert said.count("test: 2 videos") == 2  # by the protocol that is asked for, and its own
        results[devices] = json.loads(file.read_text())
    assert results[3]["confusion"] == results[1]["confusion"]
    assert results[3]["scores"]["loss"] == pytest.approx(results[1]["scores"]["loss"])
    table = tmp_path / "p.csv"
    said = train_py("predict", "--checkpoint", str(run), *root, "--csv", str(table), devices=3)
    assert said == f"2 videos: {table}\n"
    assert len(list(csv.DictReader(table.open(newline="")))) == 2


@pytest.mark.parametrize("world", [1, 2, 3])
def test_balanced_sampler_over_processes(world: int) -> None:
    labels = [0] * 30 + [1] * 5 + [2] * 10
    seen: Counter[int] = Counter()
    for epoch in range(3):
        drawn: list[tuple[int, int]] = []
        for rank in range(world):
            sampler = BalancedSampler(labels, seed=1, rank=rank, world_size=world)
            sampler.set_epoch(epoch)
            assert len(list(sampler)) == len(sampler) == 45 // world
            drawn += list(sampler)
        assert len(set(drawn)) == len(drawn)  # a video that comes again has another key
        seen.update(labels[index] for _, index in drawn)
    assert max(seen.values()) - min(seen.values()) <= 3 * world
    again = BalancedSampler(labels, seed=1, world_size=1)
    first = list(again)
    again.skip(10)
    assert list(again) == first[10:]
    assert list(again) == first
