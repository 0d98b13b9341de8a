"""``train.py fit --model.pretrained FILE``: the fine-tuning recipe is the default, flags win."""

from pathlib import Path

import pytest
import torch
import yaml

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.cli.train_settings import read_settings
from videonl.models import create_model
from videonl.training import FINE_TUNING, DataFacts, choose
from videonl.weights import LoadedModel, load_checkpoint, network_of, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "five.safetensors"
    torch.manual_seed(0)
    net = create_model("tiny_c2d_nl1", num_classes=5, width=8)
    save_checkpoint(LoadedModel(net, list("abcde"), net.preprocessing, {}), path)
    return path


def test_the_recipe_is_that_of_the_config() -> None:
    config = yaml.safe_load((ROOT / "configs" / "finetune.yaml").read_text())
    for key, value in FINE_TUNING.items():
        section, name = key.split(".")
        assert config[section][name] == value, key


def test_fine_tuning_is_the_default_and_flags_win(published: Path) -> None:
    assert network_of(published) == "tiny_c2d_nl1"
    argv = ["--data.root", "x", "--model.pretrained", str(published)]
    settings, given = read_settings("fit", argv)
    assert settings["model"]["name"] == "tiny_c2d_nl1"
    assert settings["config"] is None
    chosen = choose(DataFacts(videos=10), given).settings
    assert FINE_TUNING.items() <= chosen.items()
    _, given = read_settings("fit", [*argv, "--recipe.batch_norm", "train"])
    assert "recipe.batch_norm" not in choose(DataFacts(videos=10), given).settings
    file = str(ROOT / "configs/scratch.yaml")
    settings, _ = read_settings("fit", [*argv, "--config", file])
    assert settings["recipe"]["batch_norm"] == "train"
    assert settings["config"] == file, "which says the rest"


def test_fit_replaces_the_head_and_keeps_the_statistics(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_small_data(tmp_path / "data", train=2, val=1)
    argv = ["train", "fit", "--data.root", str(data), "--model.pretrained", str(published)]
    argv += ["--model.options.width", "8", "--out", str(tmp_path / "runs"), *FLAGS]
    assert main([*argv, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]) == 0
    assert "classifier of 5 classes" in capsys.readouterr().out
    (last,) = (tmp_path / "runs").glob("*/*/last.ckpt")
    tuned, start = load_checkpoint(last), load_checkpoint(published)
    assert tuned.class_names == ["dark", "light"]
    assert tuned.model.config["name"] == "tiny_c2d_nl1"
    after, before = tuned.model.state_dict(), start.model.state_dict()
    assert torch.equal(after["stem.norm.running_mean"], before["stem.norm.running_mean"])
    assert not torch.equal(after["stem.conv.weight"], before["stem.conv.weight"])
