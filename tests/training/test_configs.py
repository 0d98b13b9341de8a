"""Every YAML in configs/ is a whole experiment: short, and its network builds."""

from pathlib import Path
from typing import Any

import pytest
import torch

from videonl.cli.settings import read_yaml
from videonl.cli.train_settings import FINE_TUNING, read_settings
from videonl.models import create_model
from videonl.training.recipe import make_recipe

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def settings_of(config: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return read_settings("fit", ["--config", str(config), "--data.root", "videos"])


def test_the_configs_people_look_for_are_there() -> None:
    names = {path.stem for path in CONFIGS}
    assert {"sample", "finetune", "scratch", "ut_interaction"} <= names
    assert sum(name.startswith("kinetics400_") for name in names) >= 8


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_parses_builds_and_is_short(config: Path) -> None:
    lines = config.read_text().splitlines()
    assert len(lines) <= 40
    assert all(len(line) <= 100 for line in lines)
    assert lines[0].startswith("# ")
    settings, given = settings_of(config)
    make_recipe(settings["recipe"])
    with torch.device("meta"):
        net = create_model(
            settings["model"]["name"], num_classes=5, **(settings["model"]["options"] or {})
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
        assert given["name"] == config.stem


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_command_in_the_first_lines_names_this_file(config: Path) -> None:
    assert f"configs/{config.name}" in config.read_text()


def test_pretrained_alone_trains_as_the_finetune_config_says() -> None:
    _, given = settings_of(ROOT / "configs" / "finetune.yaml")
    assert FINE_TUNING.items() <= given.items()


def test_numbers_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("recipe: {weight_decay: 1e-4, warmup: .5, milestones: [0.1]}\nseed: 3\n")
    assert read_yaml(file) == {
        "recipe": {"weight_decay": 1e-4, "warmup": 0.5, "milestones": [0.1]},
        "seed": 3,
    }
