"""``videonl models``: networks, published weights, and torch.hub."""

import importlib.util
import json
from pathlib import Path

import torch

from videonl.class_names import kinetics400
from videonl.cli.main import main
from videonl.models import list_models

ROOT = Path(__file__).resolve().parents[2]


def test_tables(capsys):
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    for text in ("i3d_r50_nl5", "official/i3d_nl_32x2", "74.90", "10x3", "CC BY-NC 4.0", "≈283 MB"):
        assert text in printed
    assert "…" not in printed


def test_json_and_pattern(capsys):
    assert main(["models", "i3d_r101*", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["networks"] == list_models("i3d_r101*")
    assert {entry["family"] for entry in found["weights"]} == {"GluonCV"}
    assert main(["models", "nothing*"]) == 1


def test_fetch_unknown(capsys):
    assert main(["models", "--fetch", "official/nothing"]) == 2
    assert "neither a file nor the name" in capsys.readouterr().err


def test_torch_hub():
    model = torch.hub.load(str(ROOT), "tiny_i3d_nl1", source="local", num_classes=3)
    assert model(torch.zeros(1, 3, 4, 48, 48)).shape == (1, 3)
    spec = importlib.util.spec_from_file_location("hubconf", ROOT / "hubconf.py")
    hubconf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hubconf)
    assert {name for name in vars(hubconf) if name in list_models()} == set(list_models())
    assert "torch" in hubconf.dependencies


def test_kinetics_names():
    names = kinetics400()
    assert len(names) == 400
    assert names == sorted(names)
    assert names[0] == "abseiling"
