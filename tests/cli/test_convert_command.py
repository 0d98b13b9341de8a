"""``videonl convert``: exact, with provenance and licence; bad files in one sentence."""

import json
import pickle

import numpy as np
import pytest
import torch

from videonl.cli.main import main
from videonl.models import create_model
from videonl.weights import load_checkpoint


@pytest.fixture
def hub_file(tmp_path):
    peer = create_model("i3d_r50", num_classes=4, width=2)
    state = {}
    for key, value in peer.state_dict().items():
        key = key.replace("stem.", "blocks.0.").replace("head.projection", "blocks.6.proj")
        for stage, block in (("res2", 1), ("res3", 3), ("res4", 4), ("res5", 5)):
            key = key.replace(f"{stage}.", f"blocks.{block}.res_blocks.")
        key = key.replace("shortcut.conv", "branch1_conv").replace("shortcut.norm", "branch1_norm")
        for letter in "abc":
            key = key.replace(f".conv_{letter}.", f".branch2.conv_{letter}.")
            key = key.replace(f".norm_{letter}.", f".branch2.norm_{letter}.")
        state[key] = value
    path = tmp_path / "I3D_8x8_R50.pyth"
    torch.save({"model_state": state}, path)
    return path, peer


def test_convert_loads_back_exactly(tmp_path, hub_file, capsys):
    source, peer = hub_file
    labels = tmp_path / "labels.txt"
    labels.write_text("run\njump\nsit\nstand up\n")
    target = tmp_path / "out.safetensors"
    assert main(["convert", str(source), str(target), "--labels", str(labels)]) == 0
    printed = capsys.readouterr().out
    assert "320 tensors loaded" in printed
    assert "licence of the weights: Apache-2.0" in printed
    about = json.loads((tmp_path / "out.json").read_text())
    assert about["class_names"] == ["run", "jump", "sit", "stand up"]
    assert about["preprocessing"]["mean"] == [0.45, 0.45, 0.45]
    assert len(about["provenance"]["sha256"]) == 64
    assert about["provenance"]["url"].endswith("/I3D_8x8_R50.pyth")
    assert target.stat().st_mode == (tmp_path / "out.json").stat().st_mode
    loaded = load_checkpoint(target)
    assert loaded.class_names == about["class_names"]
    for key, value in peer.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value)


def test_options_and_fresh_classifier(tmp_path, hub_file):
    target = tmp_path / "out.safetensors"
    arguments = ["--option", "head_average=probabilities", "--num-classes", "9"]
    assert main(["convert", str(hub_file[0]), str(target), *arguments]) == 0
    config = load_checkpoint(target).model.config
    assert config["num_classes"] == 9
    assert config["options"]["head_average"] == "probabilities"


@pytest.mark.parametrize(
    ("target", "message"),
    [("out.pt", "must end with .safetensors"), ("no/out.safetensors", "does not exist")],
)
def test_bad_targets(tmp_path, hub_file, capsys, target, message):
    assert main(["convert", str(hub_file[0]), str(tmp_path / target)]) == 2
    assert message in capsys.readouterr().err


def test_bad_sources(tmp_path, capsys):
    page = tmp_path / "a.pkl"
    page.write_text("<html>login</html>")
    target = str(tmp_path / "out.safetensors")
    assert main(["convert", str(page), target]) == 2
    assert "web page" in capsys.readouterr().err
    unknown = tmp_path / "b.pkl"
    unknown.write_bytes(pickle.dumps({"weights": np.zeros(3, "f4")}, 2))
    assert main(["convert", str(unknown), target]) == 2
    assert "no reader knows these keys: weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\na\nb\nc\n", "lists a class twice: a"),
        ("", "contains no class names"),
        ("a\nb\n", "2 class names"),
    ],
)
def test_bad_labels(tmp_path, hub_file, capsys, text, message):
    labels = tmp_path / "labels.txt"
    labels.write_text(text)
    target = str(tmp_path / "out.safetensors")
    assert main(["convert", str(hub_file[0]), target, "--labels", str(labels)]) == 2
    assert message in capsys.readouterr().err


def test_json_labels(tmp_path, hub_file):
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({'"b c"': 1, "a": 0, "e": 3, "d": 2}))
    target = tmp_path / "out.safetensors"
    assert main(["convert", str(hub_file[0]), str(target), "--labels", str(labels)]) == 0
    assert load_checkpoint(target).class_names == ["a", "b c", "d", "e"]
