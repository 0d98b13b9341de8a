"""A training that is killed (SIGKILL) again and again ends with the weights of one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.small_data import FLAGS, write_small_data
from videonl.training import AtomicCheckpointIO

ROOT = Path(__file__).resolve().parents[2]
KILLS, EPOCHS, STEPS = 10, 25, 4
# Both trainings add in the same order: as many threads, from the same kind of process.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
FIT = [
    *("--model.name", "tiny_i3d_nl1", "--model.options.width", "8"),
    *("--model.options.dropout", "0.3", "--recipe.ema", "0.9", "--recipe.reference_batch", "2"),
    *("--recipe.mixup", "0.3", "--recipe.cutmix", "0.5", "--data.erasing", "0.3"),
    *("--trainer.max_epochs", str(EPOCHS), "--save_every_steps", "1", "--data.num_workers", "1"),
    *("--trainer.accelerator", "cpu", "--name", "x", "--resume", "auto"),
]
CONTENTS = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers")


def start(data: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start, or go on with, the training of a folder, in a process group of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "train.py", "fit", "--data.root", str(data), *FLAGS, *FIT),
            *("--out", str(out)),
        ],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=600)
    assert process.returncode in (0, -signal.SIGKILL), errors.decode()[-2000:]


def differing(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two nested values differ in a bit."""
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [place]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [place]
        return [d for key in one for d in differing(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return [place]
        pairs = zip(one, other, strict=True)
        return [d for i, (a, b) in enumerate(pairs) for d in differing(a, b, f"{place}/{i}")]
    return [] if one == other else [place]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_kills_at_random_moments_change_no_bit(tmp_path: Path) -> None:
    data = write_small_data(tmp_path / "data")
    whole = start(data, tmp_path / "whole")
    moments, killed = random.Random(0), 0
    for _ in range(KILLS):
        process = start(data, tmp_path / "killed")
        assert process.stdout is not None
        # "run" is the last line before the first step.
        assert any(line.startswith(b"run ") for line in process.stdout)
        time.sleep(moments.uniform(0.05, 1.2))
        process.kill()
        finish(process)
        killed += process.returncode == -signal.SIGKILL
    finish(start(data, tmp_path / "killed"))
    finish(whole)
    assert killed >= KILLS // 2  # it did not simply finish
    (expected,) = (tmp_path / "whole").glob("x/*/last.ckpt")
    last = list((tmp_path / "killed").glob("x/*/last.ckpt"))
    assert len(last) == 1  # every start went on with the same run
    wanted, found = (torch.load(path, weights_only=True) for path in (expected, last[0]))
    assert found["global_step"] == wanted["global_step"] == EPOCHS * STEPS
    for key in CONTENTS:
        assert differing(wanted[key], found[key], key) == []
    best = [torch.load(p.with_name("best.ckpt"), weights_only=True) for p in (expected, last[0])]
    assert differing(best[0]["state_dict"], best[1]["state_dict"]) == []


@pytest.mark.parametrize("moment", ["first byte", "middle", "before the name", "after"])
def test_a_kill_while_a_checkpoint_is_written_keeps_a_whole_one(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1, "w": torch.ones(10_000)}, path)
    child = os.fork()
    if child == 0:
        die_while_saving(path, moment, monkeypatch)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    kept = torch.load(path, weights_only=True)
    assert kept["step"] == (2 if moment == "after" else 1)
    assert len(kept["w"]) == 10_000
    AtomicCheckpointIO().save_checkpoint({"step": 3}, path)  # what the kill left is no obstacle
    assert torch.load(path, weights_only=True) == {"step": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def die_while_saving(path: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save the next checkpoint and die on the way; never returns."""
    save, rename = torch.save, os.replace

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def half(content: Any, file: Any) -> None:
        save(content, file)
        file.truncate(1 if moment == "first byte" else file.tell() // 2)
        file.flush()
        die()

    def never(part: Path, target: Path) -> None:
        if moment == "after":
            rename(part, target)
        die()

    try:
        if moment in ("first byte", "middle"):
            monkeypatch.setattr(torch, "save", half)
        monkeypatch.setattr(os, "replace", never)
        AtomicCheckpointIO().save_checkpoint({"step": 2, "w": torch.zeros(10_000)}, path)
    finally:
        os._exit(1)
