"""Several labels per video over two processes: the same scores as one, to the last digit."""

import json
import socket
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.small_data import FLAGS
from tests.training.test_distributed import train_py
from tests.training.test_multi_label import FIT, write_listed_data
from videonl.training import MultiLabelMeter

CLASSES, VIDEOS = 5, 41


def batches() -> tuple[Tensor, Tensor, Tensor]:
    """Scores with ties, labels (some videos without any) and losses that are exact in binary."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 12, (VIDEOS, CLASSES), generator=generator) / 12
    truth = (torch.rand(VIDEOS, CLASSES, generator=generator) < 0.25).float()
    return scores, truth, torch.randint(0, 64, (VIDEOS,), generator=generator) / 64


def count(share: slice) -> MultiLabelMeter:
    meter = MultiLabelMeter(CLASSES)
    scores, truth, losses = (tensor[share] for tensor in batches())
    for start in range(0, len(scores), 4):
        part = slice(start, start + 4)
        meter.update(scores[part], truth[part], losses[part])
    if share.start in (None, 0):
        meter.miss(torch.eye(CLASSES)[:2])
    return meter


def one_of_two(rank: int, port: int, out: str) -> None:
    address = f"tcp://127.0.0.1:{port}"
    limit = timedelta(seconds=120)
    torch.distributed.init_process_group("gloo", address, limit, world_size=2, rank=rank)
    try:
        scores = count(slice(rank, None, 2)).scores()
    finally:
        torch.distributed.destroy_process_group()
    Path(out, f"{rank}.json").write_text(json.dumps(asdict(scores)), encoding="utf-8")


@pytest.mark.slow
def test_two_processes_measure_the_same_map(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    other = context.Process(target=one_of_two, args=(1, port, str(tmp_path)))
    other.start()
    one_of_two(0, port, str(tmp_path))
    other.join(timeout=60)
    expected = json.loads(json.dumps(asdict(count(slice(None)).scores())))
    assert 0 < expected["map"] < 1
    assert expected["unread"] == 2
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected


@pytest.mark.slow
def test_two_processes_train_and_test_several_labels_as_one(tmp_path: Path) -> None:
    data = write_listed_data(tmp_path / "data")
    flags = ["--data.root", str(data), *FLAGS]
    fit = [word for word in FIT if word not in ("--trainer.accelerator", "cpu")]
    train_py("fit", *flags, *fit, "--out", str(tmp_path / "runs"), devices=2)
    checkpoint = str(next((tmp_path / "runs").glob("*/*/last.ckpt")))
    results: list[dict[str, Any]] = []
    for devices in (1, 2):
        file = tmp_path / f"{devices}.json"
        words = ["--checkpoint", checkpoint, "--split", "val", "--json", str(file)]
        train_py("test", *flags, *words, devices=devices)
        results.append(json.loads(file.read_text()))
    assert results[0]["scores"]["videos"] == 4
    losses = [result["scores"].pop("loss") for result in results]
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)  # a float sum in another order
    assert results[0]["scores"] == results[1]["scores"]
    assert results[0]["positives"] == results[1]["positives"]
