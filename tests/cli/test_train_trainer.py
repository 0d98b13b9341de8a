"""Every argument of Lightning's Trainer is an option of ``train.py``, and does what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.marks import mostly_slow
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


OWN = "tests.cli.own_callbacks"


@pytest.mark.parametrize(
    ("hook", "epoch", "kept", "best"),
    [
        ("setup", 0, None, None),
        ("on_train_epoch_end", 0, 4, 4),
        pytest.param("on_train_batch_start", 1, 4, 4, marks=pytest.mark.slow),
        pytest.param("on_train_batch_end", 1, 5, 4, marks=pytest.mark.slow),
        pytest.param("on_before_optimizer_step", 1, 4, 4, marks=pytest.mark.slow),
        pytest.param("on_validation_end", 1, 4, 4, marks=pytest.mark.slow),
        pytest.param("on_save_checkpoint", 0, 4, None, marks=pytest.mark.slow),
        pytest.param("teardown", 1, 8, None, marks=pytest.mark.slow),
    ],
)
def test_a_callback_that_raises_ends_the_training_and_keeps_it(
    hook: str,
    epoch: int,
    kept: int | None,
    best: int | None,
    fit: Fit,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--trainer.callbacks", f"{OWN}.Failing", "--trainer.callbacks.hook", hook]
    code, run = fit(*flags, "--trainer.callbacks.epoch", str(epoch), "--trainer.max_epochs", "2")
    assert code == 1
    assert run is not None
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--trainer.callbacks: Failing failed in " in error
    assert "KeyError: 'of my own\\ncallback'" in error
    assert f"(the trace is in {run / 'error.txt'})" in error
    assert "in _fail" in (run / "error.txt").read_text()
    assert (f"go on with --resume {run / 'last.ckpt'}" in error) == (kept is not None)
    if kept is not None:
        assert last_of(run)["global_step"] == kept
    if best is not None:
        assert torch.load(run / "best.ckpt", weights_only=True)["global_step"] == best


@pytest.mark.slow
def test_a_logger_that_can_not_connect_and_a_test_with_a_bad_callback(
    fit: Fit, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--trainer.logger", f"{OWN}.Unreachable", "--trainer.logger.step", "5"]
    code, run = fit(*flags, "--trainer.log_every_n_steps", "1")
    assert code == 1
    error = capsys.readouterr().err
    assert "--trainer.logger: Unreachable failed in log_metrics: ConnectionError" in error
    assert last_of(run)["global_step"] >= 5
    argv = ["train", "fit", "--resume", str(run), "--trainer.max_epochs", "3"]
    assert main(argv) == 2  # a stored class is not imported; and the training does without it
    assert "--trainer.logger null to do without" in capsys.readouterr().err
    assert main([*argv, "--trainer.logger", "null"]) == 0
    assert last_of(run)["global_step"] == 12
    test = ["--checkpoint", str(run), "--data.root", str(data), *FLAGS, "--split", "val"]
    bad = ["--trainer.callbacks", f"{OWN}.Failing", "--trainer.callbacks.hook", "on_test_batch_end"]
    for command in ("test", "validate"):
        assert main(["train", command, *test, *bad, "--trainer.callbacks.epoch", "0"]) == 1
        assert "Failing failed in on_test_batch_end" in capsys.readouterr().err


@pytest.mark.slow
def test_checkpoints_of_lightning_and_states_of_any_kind(
    fit: Fit, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, run = fit(
        *("--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.every_n_train_steps", "3"),
        *("--trainer.callbacks.save_top_k=-1", f"--trainer.callbacks+={OWN}.Remembering"),
        *("--trainer.max_epochs", "2"),
    )
    assert code == 0
    assert run is not None
    assert "the state of Remembering, because it holds an object of type datetime.datetime" in (
        capsys.readouterr().out
    )
    third = run / "checkpoints" / "epoch=0-step=3.ckpt"
    assert third.is_file()
    # The run that it belongs to goes on, by its configuration, in its folder.
    (run / "config.yaml").write_text(
        (run / "config.yaml").read_text().replace("callbacks:", "plugins: []\n  callbacks_of_old:")
    )
    stored = yaml.safe_load((run / "config.yaml").read_text())
    del stored["trainer"]["callbacks_of_old"]
    (run / "config.yaml").write_text(yaml.safe_dump(stored))
    assert main(["train", "fit", "--resume", str(third)]) == 0
    assert last_of(run)["global_step"] == 8
    assert not (third.parent / "last.ckpt").exists()


@pytest.mark.slow
def test_strategies_plugins_and_accelerators_by_class(fit: Fit) -> None:
    code, run = fit(
        *("--trainer.accelerator", "CPUAccelerator", "--trainer.devices", "1"),
        *("--trainer.plugins+=lightning.pytorch.plugins.MixedPrecision",),
        *("--trainer.plugins.precision", "bf16-mixed", "--trainer.plugins.device", "cpu"),
        *("--trainer.plugins+=AsyncCheckpointIO", "--trainer.profiler", "PassThroughProfiler"),
        *("--trainer.max_epochs", "1"),
    )
    assert code == 0
    assert last_of(run)["global_step"] == 4
    strategy = ["--trainer.strategy", "SingleDeviceStrategy", "--trainer.strategy.device", "cpu"]
    assert fit(*strategy, "--trainer.max_epochs", "1")[0] == 0


def test_batches_can_be_limited(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--trainer.max_epochs", "1", "--trainer.limit_val_batches=0.5"]
    code, run = fit("--trainer.limit_train_batches", "2", *short)
    assert code == 0
    assert last_of(run)["global_step"] == 2


def test_a_few_batches_can_be_overfitted(fit: Fit) -> None:
    short = ["--trainer.max_epochs", "2", "--trainer.gradient_clip_val", "0.5"]
    code, run = fit("--trainer.overfit_batches", "1", *short)
    assert code == 0
    assert last_of(run)["global_step"] == 2


@pytest.mark.slow
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
        pytest.param(["--trainer.fast_dev_run"], set(), marks=pytest.mark.slow),
        (["--trainer.enable_checkpointing", "false"], {"metrics.csv", "config.yaml"}),
        pytest.param(
            ["--trainer.logger", "false"],
            {"metrics.csv", "best.ckpt", "summary.md"},
            marks=pytest.mark.slow,
        ),
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


REFUSED: list[tuple[list[str], str]] = [
    (["--trainer.callbacks", "3"], "--trainer.callbacks 3: it must be a list or the name of a"),
    (["--trainer.callbacks", "no.Such"], "--trainer.callbacks: no.Such: No module named 'no'"),
    (["--trainer.callbacks", "EarlyStopping"], "EarlyStopping: the following arguments are"),
    (["--trainer.callbacks", "Timer", "--trainer.callbacks.drum", "1"], "'drum' is not accept"),
    (["--trainer.profiler", "simpel"], "it can only be one of"),
    (["--trainer.accelerator", "quantum"], "invalid accelerator name"),
    (["--trainer.max_time", "soon"], "--trainer: Timer(duration='soon') is not a valid"),
    (["--trainer.max_steps", "-3"], "max_steps must be a non-negative integer or -1"),
    (["--trainer.logger", "CometLogger"], "comet-ml is not installed: pip install 'comet-ml>="),
    (["--trainer.use_distributed_sampler"], "the data loaders split the videos"),
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
]
QUICK = ["no.Such", "EarlyStopping", "quantum", "soon", "val/nothing"]


@pytest.mark.parametrize(
    ("flags", "message"),
    mostly_slow(REFUSED, quick=[case for case in REFUSED if case[0][-1] in QUICK]),
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
