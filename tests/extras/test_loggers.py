"""MLflow on a store of its own, W&B without a network, named on the command line."""

import os
from pathlib import Path

import pytest
import yaml

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main

pytestmark = pytest.mark.extras
SMALL = [*FLAGS, "--model.name", "tiny_i3d", "--model.options.width", "8", "--name", "x"]
SMALL += ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "2"]
SMALL += ["--trainer.log_every_n_steps", "1"]


@pytest.fixture
def fit(tmp_path: Path) -> list[str]:
    data = write_small_data(tmp_path / "data", train=2, val=1)
    return ["train", "fit", "--data.root", str(data), *SMALL, "--out", str(tmp_path / "runs")]


def test_mlflow_keeps_settings_and_curves(fit: list[str], tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="see make test-extras")
    store = f"sqlite:///{tmp_path / 'store.db'}"
    uri = ["--trainer.logger", "MLFlowLogger", "--trainer.logger.tracking_uri", store]
    assert main([*fit, *uri, "--trainer.logger.experiment_name", "mine"]) == 0
    client = mlflow.MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["recipe/optimizer"] == "adamw"
    assert run.data.params["data/frames"] == "4"
    assert len(client.get_metric_history(run.info.run_id, "train/epoch_loss")) == 2
    (folder,) = (tmp_path / "runs" / "x").iterdir()
    assert {"best.ckpt", "metrics.csv", "summary.md"} <= {path.name for path in folder.iterdir()}


def test_a_server_that_is_not_there_is_one_sentence(
    fit: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow", reason="see make test-extras")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = ["--trainer.logger.tracking_uri", "http://127.0.0.1:9"]
    assert main([*fit, "--trainer.logger", "MLFlowLogger", *uri]) == 1
    error = capsys.readouterr().err
    assert "--trainer.logger: MLFlowLogger failed in " in error
    assert "Connection refused" in error
    assert "Traceback" not in error


def test_wandb_offline_keeps_settings_and_curves(
    fit: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="see make test-extras")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    place = ["--trainer.logger.save_dir", str(tmp_path), "--trainer.logger.offline", "true"]
    assert main([*fit, "--trainer.logger", "WandbLogger", *place]) == 0
    config, summary = dict(wandb.run.config), dict(wandb.run.summary)
    wandb.finish()
    (folder,) = (tmp_path / "runs" / "x").iterdir()
    assert config["data"]["frames"] == 4
    assert config["recipe"] == yaml.safe_load((folder / "config.yaml").read_text())["recipe"]
    assert summary["val/top1"] is not None
    (kept,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert os.path.getsize(kept) > 1000
