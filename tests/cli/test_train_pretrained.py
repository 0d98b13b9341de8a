"""``train.py fit --model.pretrained FILE``: the fine-tuning recipe is the default, flags win."""

from pathlib import Path

import pytest
import torch
import yaml

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.models import create_model
from videonl.training import FINE_TUNING
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


@pytest.fixture(scope="module")
def words(published: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A short training from the published weights; they say which network it is."""
    assert network_of(published) == "tiny_c2d_nl1"
    data = write_small_data(tmp_path_factory.mktemp("data"), train=2, val=1)
    words = ["train", "fit", "--data.root", str(data), "--model.pretrained", str(published)]
    words += ["--model.options.width", "8", *FLAGS, "--trainer.accelerator", "cpu"]
    return [*words, "--trainer.max_epochs", "1"]


def test_a_file_says_the_rest(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.yaml").write_text("recipe: {batch_norm: train}\n")
    config = ["--config", str(tmp_path / "x.yaml"), "--model.name", "tiny_c2d_nl1"]
    for more, chosen in ((["--recipe.warmup", "0.2"], True), (config, False)):
        assert main([*words, *more, "--dry-run"]) == 0
        assert ("--recipe.batch_norm frozen" in capsys.readouterr().out) == chosen


def test_fine_tuning_is_the_default_and_flags_win(
    published: Path, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The head is replaced, the statistics are kept."""
    assert main([*words, "--out", str(tmp_path), "--recipe.warmup", "0.2"]) == 0
    assert "classifier of 5 classes" in capsys.readouterr().out
    (last,) = tmp_path.glob("*/*/last.ckpt")
    stored = yaml.safe_load(last.with_name("config.yaml").read_text())
    for key, value in {**FINE_TUNING, "recipe.warmup": 0.2}.items():
        section, name = key.split(".")
        assert stored[section][name] == value, key
    tuned, start = load_checkpoint(last), load_checkpoint(published)
    assert tuned.class_names == ["dark", "light"]
    assert tuned.model.config["name"] == "tiny_c2d_nl1"
    after, before = tuned.model.state_dict(), start.model.state_dict()
    assert torch.equal(after["stem.norm.running_mean"], before["stem.norm.running_mean"])
    assert not torch.equal(after["stem.conv.weight"], before["stem.conv.weight"])
