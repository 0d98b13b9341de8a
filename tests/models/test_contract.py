"""Every registered network keeps the contract; what is registered is tested by existing."""

import json
import re

import pytest
import torch

from tests.marks import mostly_slow
from videonl.models import create_model, list_models, model_options

# Families of which some stand for all; a network of no family runs by default.
FAMILIES = {
    r"(c2d|i3d)_r(50|101)(_333)?(_nl\d+)?": ("c2d_r50_nl1", "i3d_r50_333_nl10", "i3d_r101"),
    r"slowonly_r50(_nl\d+)?": ("slowonly_r50_nl5",),
    r"(slow|r2plus1d|csn)_r\d+|x3d_m": ("slow_r50", "x3d_m"),
    r"(r3d|mc3|r2plus1d)_18": ("mc3_18",),
}


def stands_for_others(name):
    chosen = [some for family, some in FAMILIES.items() if re.fullmatch(family, name)]
    return not chosen or name in chosen[0]


NETWORKS = mostly_slow(list_models(), quick=[*filter(stands_for_others, list_models())])


def build(name, *, num_classes=7, device="meta", **options):
    with torch.device(device):
        return create_model(name, num_classes=num_classes, **options).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_contract(name):
    model = build(name)
    clip = torch.empty(2, 3, 8, 64, 64, device="meta")
    features = model.forward_features(clip)
    assert features.dim() == 5
    assert features.shape[0] == 2
    assert model.forward_head(features).shape == (2, 7)

    preprocessing = model.preprocessing
    assert {"frames", "stride", "short_side", "crop", "mean", "std"} <= set(preprocessing)
    assert json.loads(json.dumps(preprocessing)) == preprocessing
    assert len(preprocessing["mean"]) == len(preprocessing["std"]) == 3

    preprocessing["mean"][0] = 9.0  # a model's own copy
    assert json.loads(json.dumps(model.config)) == model.config
    again = build(
        model.config["name"],
        num_classes=model.config["num_classes"],
        **model.config["options"],
    )
    assert again.preprocessing["mean"][0] != 9.0
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert {key: value.shape for key, value in again.state_dict().items()} == shapes

    model.reset_classifier(3)
    assert model.forward_head(features).shape == (2, 3)
    assert model.config["num_classes"] == 3
    assert model_options(name) is not None, "a wrong option could not be refused"


@pytest.mark.parametrize("name", NETWORKS)
def test_any_clip_size(name):
    model = build(name)
    for size in [(1, 64, 64), (40, 71, 90)]:
        assert model(torch.empty(1, 3, *size, device="meta")).shape == (1, 7)


@pytest.mark.parametrize("name", list_models("tiny*"))
def test_small_networks_learn_on_real_numbers(name):
    model = build(name, device="cpu").train()
    clip = torch.randn(2, 3, 4, 32, 32).to(memory_format=torch.channels_last_3d)
    model(clip).square().mean().backward()
    missing = [key for key, value in model.named_parameters() if value.grad is None]
    assert not missing
    assert model.eval()(clip).isfinite().all()
