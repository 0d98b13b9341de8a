"""The commands of docs/many_gpus.md: torchrun and SLURM, two machines played by two processes."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.small_data import FLAGS, write_small_data
from videonl.training import read_metrics

ROOT = Path(__file__).resolve().parents[2]
FIT = [
    *("fit", *FLAGS, "--model.name", "tiny_i3d", "--model.options.width", "8", "--name", "x"),
    *("--recipe.reference_batch", "4", "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"),
    *("--trainer.num_nodes", "2", "--trainer.devices", "1", "--trainer.strategy", "ddp"),
]
Commands = Sequence[tuple[list[str], dict[str, str]]]


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def together(commands: Commands) -> list[str]:
    """Run them side by side; what each printed."""
    running = [
        subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words, environment in commands
    ]
    texts = [process.communicate(timeout=500) for process in running]
    for process, (_, errors) in zip(running, texts, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [output for output, _ in texts]


def torchrun(train: list[str]) -> Commands:
    port = free_port()
    place = ["--master_addr", "127.0.0.1", "--master_port", port]
    start = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", *place]
    return [
        ([*start, "--nproc_per_node", "1", "--node_rank", str(node), "train.py", *train], {})
        for node in (0, 1)
    ]


def slurm(train: list[str]) -> Commands:
    """What srun sets for every task."""
    port = free_port()
    shared = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2"}
    shared |= {"SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "7", "SLURM_NODELIST": "127.0.0.1"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    tasks = [
        {"SLURM_PROCID": str(task), "SLURM_NODEID": str(task), "SLURM_LOCALID": "0"}
        for task in (0, 1)
    ]
    return [([sys.executable, "train.py", *train], {**shared, **task}) for task in tasks]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("launcher", [torchrun, slurm])
def test_two_machines_train_one_run_and_go_on_with_it(launcher: object, tmp_path: Path) -> None:
    assert callable(launcher)
    data = write_small_data(tmp_path / "data", train=4, val=2)
    train = [*FIT, "--data.root", str(data), "--out", str(tmp_path / "runs"), "--resume", "auto"]
    first, second = together(launcher(train))
    assert "global batch 4 = 2 clips × 2 devices" in first
    assert "global batch" not in second  # one process talks
    (last,) = (tmp_path / "runs").glob("x/*/last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 2 * 2
    together(launcher([*train, "--trainer.max_epochs", "3"]))
    assert torch.load(last, weights_only=True)["global_step"] == 3 * 2
    epochs = [row for row in read_metrics(last.with_name("metrics.csv")) if "val/top1" in row]
    assert len(epochs) == 3
