"""A training that is killed (SIGKILL) again and again ends with the weights of one that was not."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
KILLS = 10


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_kills_at_random_moments_change_no_bit(tmp_path: Path) -> None:
    data = write_small_data(tmp_path / "data")
    flags = [
        *("--data.root", str(data), *FLAGS, "--name", "x", "--trainer.accelerator", "cpu"),
        *("--model.name", "tiny_i3d_nl1", "--model.options.width", "8"),
        *("--model.options.dropout", "0.3", "--recipe.ema", "0.9", "--recipe.reference_batch", "2"),
        *("--trainer.max_epochs", "25", "--save_every_steps", "1", "--data.num_workers", "1"),
    ]
    assert main(["train", "fit", *flags, "--out", str(tmp_path / "whole")]) == 0
    argv = [sys.executable, "train.py", "fit", *flags, "--out", str(tmp_path / "killed")]
    moments = random.Random(0)
    killed = 0
    for attempt in range(KILLS + 1):
        process = subprocess.Popen(
            [*argv, "--resume", "auto"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        if attempt < KILLS:
            assert any(line.startswith(b"run ") for line in process.stdout)
            time.sleep(moments.uniform(0.2, 1.6))
            process.kill()
        _, errors = process.communicate(timeout=300)
        killed += process.returncode == -9
        assert process.returncode in (0, -9), errors.decode()[-2000:]
    assert killed >= KILLS // 2  # it did not simply finish
    (whole,) = (tmp_path / "whole").glob("x/*/last.ckpt")
    ends = [torch.load(p, weights_only=True) for p in (tmp_path / "killed").glob("x/*/last.ckpt")]
    expected = torch.load(whole, weights_only=True)
    end = max(ends, key=lambda content: content["global_step"])
    assert end["global_step"] == expected["global_step"] == 25 * 4
    for key in ("state_dict", "current_model_state"):
        for name, value in expected[key].items():
            assert torch.equal(end[key][name], value), f"{key}: {name}"
