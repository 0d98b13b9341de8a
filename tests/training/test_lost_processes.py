"""A process that is killed ends the work in one sentence; what was trained so far is kept."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main

TRAINING = [
    *("--model.name", "tiny_i3d", "--model.options.width", "8", "--trainer.accelerator", "cpu"),
    *("--trainer.log_every_n_steps", "1", "--trainer.max_epochs", "1", "--name", "x"),
]


def kill_a_worker(when: Path | None = None) -> threading.Thread:
    """Kill a decoding process, once a file has grown to some lines."""

    def watch() -> None:
        while not (children := multiprocessing.active_children()) or (
            when and len([line for f in when.glob("*/*.csv") for line in f.open()]) < 12
        ):
            time.sleep(0.02)
        os.kill(children[0].pid or 0, signal.SIGKILL)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_killed_worker_keeps_the_epoch_so_far(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_small_data(tmp_path / "data", train=60, val=1)
    own = ["--data.num_workers", "1", "--data.batch_size", "1", "--out", str(tmp_path / "runs")]
    thread = kill_a_worker(tmp_path / "runs/x")
    assert main(["train", "fit", "--data.root", str(data), *FLAGS, *TRAINING, *own]) == 2
    thread.join()
    error = capsys.readouterr().err
    (last,) = (tmp_path / "runs").glob("x/*/last.ckpt")
    assert "a process that decodes videos was killed" in error
    assert f"go on with --resume {last}" in error
    assert "Traceback" not in error
    step = torch.load(last, weights_only=True)["global_step"]
    assert 2 <= step < 120
    assert not list(last.parent.glob(".*"))
    again = ["--resume", str(last), "--data.num_workers", "0"]
    assert main(["train", "fit", "--data.root", str(data), *FLAGS, *TRAINING, *own, *again]) == 0
    assert torch.load(last, weights_only=True)["global_step"] == 120


@pytest.mark.slow
def test_signals_mean_after_a_training_what_they_meant_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_small_data(tmp_path / "data", train=1, val=1, test=1)
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    out = ["--out", str(tmp_path / "runs")]
    assert main(["train", "fit", "--data.root", str(data), *FLAGS, *TRAINING, *out]) == 0
    assert [signal.getsignal(number) for number in numbers] == before
    (run,) = (tmp_path / "runs/x").iterdir()
    words = ["--checkpoint", str(run), "--data.root", str(data), *FLAGS]
    for command in ("test", "predict"):  # likewise, with a worker that is killed
        thread = kill_a_worker()
        assert main(["train", command, *words, "--data.num_workers", "1"]) == 2
        thread.join()
        assert "a process that decodes videos was killed" in capsys.readouterr().err
        assert [signal.getsignal(number) for number in numbers] == before
