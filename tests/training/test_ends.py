"""A training that ends early: one sentence, an exit code, and a last checkpoint to go on from."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.training import Checkpoints, VideoClassifier

ROOT = Path(__file__).resolve().parents[2]
FIT = [
    *("--model.name", "tiny_i3d_nl1", "--model.options.width", "8"),
    *("--recipe.reference_batch", "2", "--recipe.ema", "0.9", "--name", "x"),
    *("--trainer.accelerator", "cpu", "--trainer.max_epochs", "2"),
]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_small_data(tmp_path / "data", train=4, val=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of a training of the same data that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    data = write_small_data(folder / "data", train=4, val=1)
    assert fit(data, folder / "runs") == 0
    return folder / "runs"


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Lightning ignores Ctrl-C for good after one: right for a program, wrong for a test."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def fit(data: Path, out: Path, *more: str) -> int:
    flags = [*FLAGS, *FIT, "--out", str(out), "--resume", "auto", *more]
    return main(["train", "fit", "--data.root", str(data), *flags])


def last_of(out: Path) -> dict[str, Any]:
    (path,) = out.glob("x/*/last.ckpt")
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def sentence(capsys: Capture) -> str:
    """The one line on stderr."""
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if line.strip()]
    assert len([line for line in lines if not line.startswith("stopping after")]) == 1, errors
    return lines[-1]


def after_step(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[], None]) -> None:
    """Do something in the middle of an optimiser step, once."""
    original = VideoClassifier.training_step
    actions = [action]

    def training_step(self: VideoClassifier, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == step and actions:
            actions.pop()()
        return original(self, batch, batch_idx)

    monkeypatch.setattr(VideoClassifier, "training_step", training_step)


def same_weights(one: Path, other: Path) -> bool:
    first, second = (last_of(out)["state_dict"] for out in (one, other))
    return all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_vanished_data_end_with_a_sentence_and_lose_nothing(
    workers: str,
    data: Path,
    whole: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = ["--data.num_workers", workers]
    hidden, steps = tmp_path / "hidden", 4
    if workers != "0":  # one has read the next 2 or 3 batches before they are needed
        data, steps = write_small_data(tmp_path / "longer", train=8, val=1), 8
        whole = tmp_path / "whole"
        assert fit(data, whole, *more) == 0
    with monkeypatch.context() as patch:
        after_step(patch, steps + 1, lambda: os.rename(data, hidden))
        assert fit(data, tmp_path / "runs", *more) == 2
    last = last_of(tmp_path / "runs")
    assert steps + 2 <= last["global_step"] < 2 * steps
    text = sentence(capsys)
    assert f"the data folder {data} is gone" in text
    assert "go on with --resume" in text
    hidden.rename(data)
    assert fit(data, tmp_path / "runs", *more) == 0
    assert same_weights(tmp_path / "runs", whole)


def test_data_that_vanish_before_a_validation_are_not_wrong_answers(
    data: Path, whole: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["--data.num_workers", "0"]  # nothing is read ahead
    hidden = tmp_path / "hidden"
    start = VideoClassifier.on_validation_epoch_start

    def vanish(self: VideoClassifier) -> None:
        if self.global_step == 8 and data.is_dir():
            data.rename(hidden)
        start(self)

    with monkeypatch.context() as patch:
        patch.setattr(VideoClassifier, "on_validation_epoch_start", vanish)
        assert fit(data, tmp_path / "runs", *more) == 2
    assert f"the data folder {data} is gone" in sentence(capsys)
    assert last_of(tmp_path / "runs")["global_step"] == 4  # the validation belongs to its epoch
    hidden.rename(data)
    assert fit(data, tmp_path / "runs", *more) == 0
    assert same_weights(tmp_path / "runs", whole)


def test_a_full_disk_ends_with_a_sentence_and_keeps_the_last_checkpoint(
    data: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Checkpoints.save_last

    def save_then_fill(self: Checkpoints, trainer: Trainer) -> None:
        if not self.last.exists():
            save(self, trainer)
            return
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.last.stat().st_size // 2, limits[1]))
        try:
            save(self, trainer)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save_last", save_then_fill)
        assert fit(data, tmp_path / "runs", "--save_every_steps", "1") == 2
    assert last_of(tmp_path / "runs")["global_step"] == 1
    text = sentence(capsys)
    assert "File too large" in text
    assert "the previous one is intact" in text
    assert not [file for file in (tmp_path / "runs").rglob(".*") if file.is_file()]
    assert fit(data, tmp_path / "runs") == 0
    assert last_of(tmp_path / "runs")["global_step"] == 8


@pytest.mark.slow
def test_a_really_full_disk(data: Path, tmp_path: Path) -> None:
    """A file system of half a checkpoint too little, seen by this one process alone."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if not shutil.which("unshare") or subprocess.run(probe, check=False).returncode:
        pytest.skip("no right to mount a small file system")
    assert fit(data, tmp_path / "runs", "--trainer.max_epochs", "1") == 0
    (usual,) = (tmp_path / "runs").glob("x/*/last.ckpt")
    size = int(1.6 * usual.stat().st_size)
    script = 'mount -t tmpfs -o size=$1 none $2 && shift && D=$1 && shift && K=$1 && shift && "$@"'
    script += "; code=$?; cp -r $D $K; exit $code"
    flags = [*FLAGS, *FIT, "--out", str(disk), "--save_every_steps", "1"]
    train = [sys.executable, "train.py", "fit", "--data.root", str(data), *flags]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(size), str(disk), str(kept), *train],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    # The archive writer may notice the short write before the system's own words arrive.
    assert "Free some space" in done.stderr.splitlines()[-1]
    assert "last.ckpt" in done.stderr.splitlines()[-1]
    assert last_of(kept)["global_step"] >= 1


@pytest.mark.parametrize("accumulate", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_ctrl_c_saves_and_says_130(
    accumulate: str,
    data: Path,
    whole: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = ["--trainer.accumulate_grad_batches", accumulate]
    if accumulate != "1":
        whole = tmp_path / "whole"
        assert fit(data, whole, *more) == 0
        capsys.readouterr()
    with monkeypatch.context() as patch:
        after_step(patch, 0, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert fit(data, tmp_path / "runs", *more) == 130
    assert "stopped; go on with --resume" in sentence(capsys)
    assert last_of(tmp_path / "runs")["global_step"] == 1
    assert fit(data, tmp_path / "runs", *more) == 0
    assert same_weights(tmp_path / "runs", whole)


@pytest.mark.slow
def test_ctrl_c_in_the_validation(
    data: Path, whole: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = VideoClassifier.validation_step

    def validation_step(self: VideoClassifier, batch: Any, batch_idx: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(VideoClassifier, "validation_step", validation_step)
        assert fit(data, tmp_path / "runs", "--save_every_steps", "1") == 130
    assert "stopped; go on with --resume" in sentence(capsys)
    assert fit(data, tmp_path / "runs") == 0
    assert same_weights(tmp_path / "runs", whole)


def test_ctrl_c_before_the_first_step_and_a_second_one(
    data: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(VideoClassifier, "configure_optimizers", press)
        assert fit(data, tmp_path / "early") == 130
    assert sentence(capsys).endswith("stopped")

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        after_step(patch, 5, twice)
        assert fit(data, tmp_path / "runs") == 130
    assert sentence(capsys).endswith("stopped")
    assert last_of(tmp_path / "runs")["global_step"] == 4  # of the last epoch: nothing is torn
