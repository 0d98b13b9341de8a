"""Every YAML in configs/ is a whole experiment: short, and its network builds."""

import math
import re
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.evaluation.test_ready_sweeps import KINETICS
from tests.small_data import FLAGS, write_small_data
from tests.training.test_multi_label import write_listed_data
from videonl.cli.main import main
from videonl.data import VideoDataModule
from videonl.files import read_yaml
from videonl.models import create_model
from videonl.training import make_recipe, read_metrics
from videonl.weights import PUBLISHED as PUBLISHED_FILES
from videonl.weights import LoadedModel, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def settings_of(config: Path) -> dict[str, Any]:
    """What a file says, and of the data what the data module says."""
    content = read_yaml(config)
    known = signature(VideoDataModule).parameters
    assert content["data"].keys() <= known.keys()
    data = {key: parameter.default for key, parameter in known.items()}
    return {**content, "data": {**data, **content["data"]}}


def test_the_configs_people_look_for_are_there() -> None:
    names = {path.stem for path in CONFIGS}
    assert {"sample", "finetune", "scratch", "ut_interaction"} <= names
    assert sum(name.startswith("kinetics400_") for name in names) >= 8


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_parses_builds_and_is_short(config: Path) -> None:
    lines = config.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40
    assert all(len(line) <= 100 for line in lines)
    assert lines[0].startswith("# ")
    settings = settings_of(config)
    make_recipe(settings["recipe"])
    with torch.device("meta"):
        net = create_model(
            settings["model"]["name"], num_classes=5, **settings["model"].get("options", {})
        )
    assert net.config["num_classes"] == 5
    data = settings["data"]
    assert data["crop"] <= data["short_side"]
    made_for = net.preprocessing
    if config.stem.startswith("kinetics400_") and "128x1" not in config.stem:
        assert {k: data[k] for k in ("frames", "stride")} == {
            k: made_for[k] for k in ("frames", "stride")
        }
        size = f"{data['frames']}x{data['stride']}"
        assert config.stem == f"kinetics400_{settings['model']['name']}_{size}"
        assert settings["name"] == config.stem


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_command_in_the_first_lines_names_this_file(config: Path) -> None:
    assert f"configs/{config.name}" in config.read_text(encoding="utf-8")


def commands(config: Path) -> list[list[str]]:
    """The commands in a config's comments, word by word; added options belong to the first."""
    found: list[list[str]] = []
    for line in config.read_text(encoding="utf-8").splitlines():
        if line.startswith("#   --"):
            found[0] += line[4:].split()
        elif line.startswith("#   "):
            found += [part.split() for part in line[4:].split(" && ")]
    return found


PUBLISHED = sorted((ROOT / "configs").glob("kinetics400_*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_commented_commands_start(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is read as it stands, and refused for nothing but the data or file that is not there."""
    for words in commands(config):
        if words[:2] == ["videonl", "sample"]:
            continue
        assert words[:2] == ["python", "train.py"]
        argv = ["train", *words[2:]]
        if "--data.root" not in argv:
            argv += ["--data.root", "NOWHERE"]
        assert main(argv) == 2
        error = capsys.readouterr().err
        missing = [argv[argv.index("--data.root") + 1]]
        for option in ("--model.pretrained", "--checkpoint"):
            missing += [argv[argv.index(option) + 1]] if option in argv else []
        assert any(name in error for name in missing), error
        assert "Traceback" not in error


@pytest.mark.parametrize("config", PUBLISHED, ids=lambda path: path.stem)
def test_the_start_of_a_published_config_fits_its_network(config: Path) -> None:
    """The file that its comment names has the network's depth, the run its name."""
    settings = settings_of(config)
    first, test = commands(config)
    start = first[first.index("--model.pretrained") + 1]
    depth = re.search(r"r(50|101)", settings["model"]["name"])
    assert depth is not None
    if "128x1" in config.stem:
        assert start.split("/")[1] in {path.stem for path in PUBLISHED}
        assert start.split("/")[1] == config.stem.replace("128x1", "32x2")
    else:
        published = [entry for entry in PUBLISHED_FILES if entry.file == start]
        assert [entry.model for entry in published] == [f"c2d_{depth[0]}"]
    assert test[test.index("--checkpoint") + 1] == f"runs/{config.stem}/DATE"


@pytest.mark.parametrize("config", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_config_follows_the_recipe_of_its_accuracy(config: Path) -> None:
    settings = settings_of(config)
    recipe = make_recipe(settings["recipe"])
    text = " ".join(line[2:] for line in config.read_text("utf-8").splitlines() if line[:1] == "#")
    paper = "recipe is that of the paper: plain momentum" in text
    assert paper != ("recipe is that of the release" in text)
    assert (recipe.nesterov, recipe.norm_weight_decay) == ((False, 1e-4) if paper else (True, 0.0))
    assert (recipe.bias_weight_decay, recipe.warmup, recipe.weight_decay) == (1e-4, 0.0, 1e-4)
    steps = settings["trainer"]["max_epochs"] * KINETICS / recipe.reference_batch
    assert steps == pytest.approx(400_000, rel=0.02)
    assert [round(at * 400) for at in recipe.milestones] == [150, 300]
    assert recipe.learning_rate / recipe.reference_batch == pytest.approx(0.01 / 64)
    figures = {entry.top1 for entry in PUBLISHED_FILES if entry.name.startswith("official/")}
    said = re.search(r"Published top-1: ([\d.]+) \(", text)
    if said and not paper:
        assert float(said[1]) in figures


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_trains_an_epoch_and_is_tested(config: Path, tmp_path: Path) -> None:
    """With its own recipe and graph; narrower, on small clips of four frames."""
    several = config.stem == "charades"
    data = (write_listed_data if several else write_small_data)(tmp_path / "data")
    flags = ["--data.root", str(data), *FLAGS]
    more = ["--data.jitter", "36x40", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    more += ["--out", str(tmp_path)]
    more += ["--model.options.width", "8"]
    if "128x1" in config.stem:  # blocks in 4 groups of frames, after time was halved twice
        flags += ["--data.frames", "32"]
    if config.stem == "finetune":
        model = settings_of(config)["model"]
        options = {**model.get("options", {}), "width": 8}
        net = create_model(model["name"], num_classes=7, **options)
        start = tmp_path / "start.safetensors"
        save_checkpoint(LoadedModel(net, None, dict(net.preprocessing)), start)
        more += ["--model.pretrained", str(start)]
    assert main(["train", "fit", "--config", str(config), *flags, *more]) == 0
    (last,) = tmp_path.glob("*/*/last.ckpt")
    rows = read_metrics(last.parent / "metrics.csv")
    assert all(math.isfinite(row["train/loss"]) for row in rows if "train/loss" in row)
    assert any("train/loss" in row or "train/epoch_loss" in row for row in rows)
    split = ["--split", "val"]
    assert main(["train", "test", "--checkpoint", str(last), *flags, *split]) == 0


def test_clips_that_the_network_does_not_take_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_small_data(tmp_path / "data")
    config = ROOT / "configs" / "kinetics400_i3d_r50_nl5_128x1.yaml"
    flags = ["--data.root", str(data), *FLAGS, "--trainer.accelerator", "cpu"]
    flags += ["--model.options.width", "8", "--out", str(tmp_path / "runs")]
    assert main(["train", "fit", "--config", str(config), *flags]) == 2
    errors = capsys.readouterr().err
    assert "i3d_r50_nl5 does not take clips of 4 frames of 32×32 (--data.frames" in errors
    assert "temporal_groups=4" in errors
    assert "Traceback" not in errors
