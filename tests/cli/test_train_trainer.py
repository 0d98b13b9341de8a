"""Every argument of Lightning's Trainer is an option of ``train.py``, and does what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main

SMALL = [*FLAGS, "--model.name", "tiny_i3d", "--model.options.width", "8", "--name", "x"]
SMALL += ["--recipe.optimizer", "adamw", "--trainer.accelerator", "cpu"]
EARLY = "lightning.pytorch.callbacks.EarlyStopping"
Fit = Callable[..., tuple[int, Path | None]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("trainer"))


@pytest.fixture
def fit(data: Path, tmp_path: Path) -> Fit:
    """fit("--flag", "value", ...) -> (exit code, the run's folder)."""

    def run(*flags: str) -> tuple[int, Path | None]:
        argv = ["train", "fit", "--data.root", str(data), *SMALL, "--out", str(tmp_path / "runs")]
        code = main([*argv, "--trainer.max_epochs", "3", *flags])
        return code, next(iter(sorted((tmp_path / "runs").glob("x/*"))), None)

    return run


def last_of(run: Path | None) -> dict[str, Any]:
    assert run is not None
    checkpoint: dict[str, Any] = torch.load(run / "last.ckpt", weights_only=True)
    return checkpoint


def test_callbacks_and_loggers_of_a_file_stand_beside_ours(
    fit: Fit, data: Path, tmp_path: Path
) -> None:
    never = {"monitor": "val/loss", "patience": 1, "min_delta": 1000.0}
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": str(tmp_path), "name": "csv"}}
    trainer = {"callbacks": [{"class_path": EARLY, "init_args": never}], "logger": logger}
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump({"trainer": trainer}))
    code, run = fit("--config", str(file))
    assert code == 0
    assert last_of(run)["epoch"] == 1  # the second epoch is no better by 1000
    assert any(key.startswith("EarlyStopping") for key in last_of(run)["callbacks"])
    assert (tmp_path / "csv" / "version_0" / "metrics.csv").is_file()
    assert run is not None
    assert {"best.ckpt", "metrics.csv", "summary.md"} <= {path.name for path in run.iterdir()}
    assert list(run.glob("events*"))
    argv = ["--checkpoint", str(run), "--data.root", str(data), *FLAGS, "--split", "val"]
    argv += ["--trainer.accelerator", "cpu", "--config", str(file)]
    assert main(["train", "test", *argv, "--trainer.callbacks+", "ModelCheckpoint"]) == 0
    stored = yaml.safe_load((run / "config.yaml").read_text())["trainer"]
    assert stored["callbacks"][0]["class_path"] == EARLY
    assert stored["callbacks"][0]["init_args"]["patience"] == 1


def test_callbacks_of_the_command_line(fit: Fit) -> None:
    code, run = fit(
        *("--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor", "val/loss"),
        *("--trainer.callbacks.min_delta", "1000", "--trainer.callbacks.patience", "1"),
        *("--trainer.callbacks+", "lightning.pytorch.callbacks.Timer"),
    )
    assert code == 0
    assert last_of(run)["epoch"] == 1
    assert {key[:5] for key in last_of(run)["callbacks"]} >= {"Early", "Timer"}


def test_batches_can_be_limited(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    code, run = fit("--trainer.limit_train_batches", "2", "--trainer.limit_val_batches=0.5")
    assert code == 0
    assert last_of(run)["global_step"] == 3 * 2


def test_a_few_batches_can_be_overfitted(fit: Fit) -> None:
    code, run = fit("--trainer.overfit_batches", "1", "--trainer.gradient_clip_val", "0.5")
    assert code == 0
    assert last_of(run)["global_step"] == 3


def test_a_profiler_reports(fit: Fit, caplog: pytest.LogCaptureFixture) -> None:
    code, _ = fit("--trainer.profiler", "simple", "--trainer.max_epochs", "1")
    assert code == 0
    assert "run_training_epoch" in caplog.text


def test_validation_within_an_epoch_keeps_the_weights_that_it_saw(fit: Fit) -> None:
    code, run = fit("--trainer.val_check_interval", "3", "--trainer.max_epochs", "1")
    assert code == 0
    assert run is not None
    assert torch.load(run / "best.ckpt", weights_only=True)["global_step"] == 3
    assert last_of(run)["global_step"] == 4


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        (["--trainer.barebones"], set()),
        (["--trainer.fast_dev_run"], set()),
        (["--trainer.enable_checkpointing", "false"], {"metrics.csv", "config.yaml"}),
        (["--trainer.logger", "false"], {"metrics.csv", "best.ckpt", "summary.md"}),
    ],
)
def test_a_training_that_leaves_less(flags: list[str], left: set[str], fit: Fit) -> None:
    code, run = fit("--trainer.max_epochs", "1", *flags)
    assert code == 0
    found = {path.name for path in run.iterdir()} if run is not None else set()
    assert left <= found
    assert left or not found
    assert ("last.ckpt" in found) == ("best.ckpt" in left)
    assert not any(name.startswith("events") for name in found) or "config.yaml" in left


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trainer.callbacks", "3"], "--trainer.callbacks 3: it must be list or the name of a"),
        (["--trainer.callbacks", "no.Such"], "--trainer.callbacks: no.Such: No module named 'no'"),
        (["--trainer.callbacks", "EarlyStopping"], "EarlyStopping: the following arguments are"),
        (["--trainer.callbacks", "Timer", "--trainer.callbacks.drum", "1"], "'drum' is not accept"),
        (["--trainer.profiler", "simpel"], "it can only be one of"),
        (["--trainer.accelerator", "quantum"], "invalid accelerator name"),
        (["--trainer.max_time", "soon"], "--trainer: Timer(duration='soon') is not a valid"),
        (["--trainer.max_steps", "-3"], "max_steps must be a non-negative integer or -1"),
        (["--trainer.use_distributed_sampler"], "the loaders split the videos"),
        (
            [
                "--trainer.callbacks",
                f"{{class_path: {EARLY}, init_args: {{monitor: a, mode: up}}}}",
            ],
            "--trainer: mode can be min, max, got up",
        ),
        (
            ["--trainer.callbacks", EARLY, "--trainer.callbacks.monitor", "val/nothing"],
            "--trainer: Early stopping conditioned on metric val/nothing which is not available",
        ),
    ],
)
def test_what_lightning_refuses_is_one_sentence(
    flags: list[str], message: str, fit: Fit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(*flags)[0] == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert "Traceback" not in errors


def test_the_help_of_a_class_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", "fit", "--trainer.callbacks.help", "EarlyStopping"])
    text = capsys.readouterr().out
    assert "--trainer.callbacks.patience" in text
    assert "`" not in text
