"""A training that was stopped anywhere ends with the same weights, bit for bit."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.checkpoints import write_ckpt
from tests.marks import mostly_slow
from videonl.errors import CheckpointError
from videonl.training import (
    AtomicCheckpointIO,
    Checkpoints,
    MetricsFile,
    new_run,
    read_checkpoint,
    read_metrics,
    resume_path,
)
from videonl.weights import checkpoint_in, run_of

Train = Callable[..., tuple[Any, Any]]
EVERYTHING = {"recipe": {"ema": 0.9, "mixup": 0.3, "label_smoothing": 0.1, "warmup": 0.3}}


def keep_every_save(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Copy every last.ckpt, as a kill just after it would leave it."""
    save = Checkpoints.save_last
    folder.mkdir()

    def save_and_keep(self: Checkpoints, trainer: Any) -> None:
        save(self, trainer)
        shutil.copy(self.last, folder / f"{len(list(folder.iterdir())):02d}.ckpt")

    monkeypatch.setattr(Checkpoints, "save_last", save_and_keep)


def final(path: Path) -> dict[str, Any]:
    content = torch.load(path, weights_only=True)
    return {
        "weights": content["state_dict"],
        "raw": content.get("current_model_state"),
        "optimizer": content["optimizer_states"][0]["state"],
        "schedule": content["lr_schedulers"][0]["last_epoch"],
        "step": content["global_step"],
        "epoch": content["epoch"],
    }


def epochs_of(folder: Path) -> list[dict[str, float]]:
    """What was logged of every epoch: loss and accuracy of training and validation."""
    rows = read_metrics(folder / "metrics.csv")
    epochs = [row for row in rows if "train/epoch_loss" in row]
    return [{key: row[key] for key in row if key != "step"} for row in epochs]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return one == other


@pytest.mark.parametrize(
    ("accumulate", "workers", "picked"),
    # In the middle of the second epoch; after the first step and between the epochs; and others.
    mostly_slow([(1, 0, [5]), (1, 0, [0, 3]), (2, 0, [0, 1]), (1, 1, [5])], quick=[(1, 0, [5])]),
)
def test_every_save_goes_on_to_the_same_weights(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accumulate: int,
    workers: int,
    picked: list[int],
) -> None:
    options = {**EVERYTHING, "trainer": {"accumulate_grad_batches": accumulate}}
    options["data"] = {"num_workers": workers}
    saves = tmp_path / "saves"
    with monkeypatch.context() as patch:
        keep_every_save(patch, saves)
        _, whole = train(epochs=2, folder="whole", save_every_steps=1, **options)
    expected = final(whole.last)
    kept = sorted(saves.iterdir())
    steps = [torch.load(path, weights_only=True)["global_step"] for path in kept]
    assert steps == list(range(1, 8 // accumulate + 1)), "after every step, and once only"
    for path in (kept[number] for number in picked):
        _, again = train(epochs=2, folder=f"from_{path.stem}", resume=path, **options)
        assert same(final(again.last), expected), f"resumed after {path.stem}"
        assert epochs_of(again.run_dir)[-1] == epochs_of(whole.run_dir)[-1]
        key, rows = "speed/clips_per_second", read_metrics(again.run_dir / "metrics.csv")
        speeds = [row[key] for row in rows if key in row]
        assert min(speeds) > max(speeds) / 100, "the clock starts where the training goes on"


@pytest.mark.slow
def test_a_finished_training_goes_on_where_it_ended(train: Train) -> None:
    _, whole = train(epochs=2, recipe={"schedule": "constant"}, folder="whole")
    _, half = train(epochs=1, recipe={"schedule": "constant"}, folder="half")
    _, rest = train(epochs=2, recipe={"schedule": "constant"}, folder="half", resume=half.last)
    assert same(final(rest.last), final(whole.last))
    rows = read_metrics(rest.run_dir / "metrics.csv")
    expected = read_metrics(whole.run_dir / "metrics.csv")
    key = "val/loss"
    assert [r[key] for r in rows if key in r] == [r[key] for r in expected if key in r]
    for key in expected[0].keys() | expected[1].keys():  # nor does a row of before get lost
        assert [r["step"] for r in rows if key in r] == [r["step"] for r in expected if key in r]


def test_an_average_is_not_taken_for_the_weights_that_were_trained(train: Train) -> None:
    _, half = train(epochs=1, recipe={"ema": 0.9})
    with pytest.raises(CheckpointError, match=r"recipe\.ema 0\.9, this training has 0"):
        train(epochs=2, resume=half.last)


def test_a_failing_write_keeps_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"value": 1}, path)

    def full(content: Any, file: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"No space left.*the previous one is intact"):
        AtomicCheckpointIO().save_checkpoint({"value": 2}, path)
    assert torch.load(path, weights_only=True) == {"value": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_foreign_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(b"PK\x03\x04 no")
    with pytest.raises(CheckpointError, match="damaged archive"):
        read_checkpoint(damaged)
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(CheckpointError, match=r"--model\.pretrained"):
        read_checkpoint(tmp_path / "foreign.ckpt")


def test_a_link_to_a_checkpoint_finds_its_run(tmp_path: Path) -> None:
    run = new_run(tmp_path, "name")
    (run / "config.yaml").touch()
    (run / "last.ckpt").touch()
    link = tmp_path / "links/link.ckpt"
    link.parent.mkdir()
    link.symlink_to(run / "last.ckpt")
    assert run_of(link) == run_of(run / "last.ckpt") == run
    (run / "best.ckpt").symlink_to(tmp_path / "gone.ckpt")  # of an unmounted disk
    for path in (run, run / "best.ckpt"):  # not the last one instead, without a word
        with pytest.raises(CheckpointError, match=r"best\.ckpt is a link to .*gone\.ckpt, which"):
            checkpoint_in(path)
    with pytest.raises(CheckpointError, match=r"runs lie below .*name: give one of these folders"):
        checkpoint_in(tmp_path)


def test_run_folders(tmp_path: Path) -> None:
    first = new_run(tmp_path, "name")
    second = new_run(tmp_path, "name")
    assert second != first
    assert resume_path("auto", out=tmp_path, name="name") is None
    (first / "last.ckpt").touch()
    assert resume_path("auto", out=tmp_path, name="name") == first / "last.ckpt"
    assert resume_path(str(first), out=tmp_path, name="other") == first / "last.ckpt"
    assert checkpoint_in(first) == first / "last.ckpt"
    (first / "best.ckpt").touch()
    assert checkpoint_in(first) == first / "best.ckpt"
    with pytest.raises(CheckpointError, match="does not exist"):
        resume_path(str(tmp_path / "nowhere.ckpt"), out=tmp_path, name="name")
    assert checkpoint_in(tmp_path / "name") == first / "best.ckpt"  # the runs of a name
    (second / "best.ckpt").touch()
    os.utime(first / "best.ckpt", (1, 1))
    with pytest.warns(UserWarning, match=f"2 runs with a best.ckpt; the newest .*{second.name}"):
        assert checkpoint_in(tmp_path / "name") == second / "best.ckpt"
    assert resume_path(str(tmp_path / "name"), out=tmp_path, name="x") == first / "last.ckpt"
    with pytest.raises(CheckpointError, match=r"contains no best\.ckpt and no last\.ckpt"):
        checkpoint_in(tmp_path)
    (tmp_path / "other.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"it contains other\.safetensors: give one"):
        checkpoint_in(tmp_path)
    (tmp_path / "model.safetensors").touch()  # a clone from the hub
    assert checkpoint_in(tmp_path) == tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError, match=r"contains no last\.ckpt"):
        resume_path(str(tmp_path), out=tmp_path, name="x")


def test_metrics_file_grows_columns_and_drops_what_is_measured_again(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path)
    log.log_metrics({"a": 1.0}, step=1)
    log.log_metrics({"b": 2.0}, step=2)
    log.log_metrics({"a": 3.0}, step=3)
    assert read_metrics(log.path) == [{"step": 1, "a": 1}, {"step": 2, "b": 2}, {"step": 3, "a": 3}]
    with log.path.open("a") as file:
        file.write("4,1e-")  # killed in the middle of a row
    again = MetricsFile(tmp_path, resume_step=3)
    again.log_metrics({"a": 4.0}, step=3)
    assert [row.get("a") for row in read_metrics(log.path)] == [1, None, 4]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: content.update(loops=7), "does not say where in its training"),
        (lambda content: content.pop("loops"), "does not say where in its training"),
        (lambda content: content.update(global_step="x"), "does not say where in its training"),
        (lambda content: content["state_dict"].update(more=torch.zeros(1)), "no training writes"),
        (lambda _: None, "was trained with"),  # whole, but of another data set
    ],
)
def test_a_checkpoint_without_its_place_is_refused(
    change: Any, sentence: str, train: Train, tmp_path: Path
) -> None:
    def broken(content: dict[str, Any]) -> None:
        done = {"current": {"processed": 1}}
        batches = {"is_last_batch": True, **done}
        content["loops"] = {
            "fit_loop": {"epoch_progress": done, "epoch_loop.batch_progress": batches}
        }
        change(content)

    with pytest.raises(CheckpointError, match=sentence):
        train(epochs=2, resume=write_ckpt(tmp_path / "broken.ckpt", broken))
