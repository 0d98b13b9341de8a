"""The published networks' own logits: 1e-9 in float64, 1e-5 against Caffe2's float32."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from videonl.models import create_model
from videonl.models.checkpoint import load_checkpoint

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
VECTORS = SHARED / "vectors"
pytestmark = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the parity fixtures (shared/vectors) are not here"
)
EMBEDDED = {"non_local_options": {"affinity": "embedded_gaussian"}}
SMALL_HEAD = {"head_window": (2, 2)}  # these nets were made for 64×64 pixels
STORED = [
    ("net_pyslowfast_c2d_w4", 0, SMALL_HEAD),
    ("net_pyslowfast_slow_w4", 0, SMALL_HEAD),
    ("net_pyslowfast_i3d_nln_w4", 0, SMALL_HEAD),
    ("net_pyslowfast_i3d_nln_w4", 1, {**SMALL_HEAD, "head_average": "logits"}),
    ("net_pyslowfast_i3d_nln_w4", 2, SMALL_HEAD),
    ("net_pyslowfast_i3d_nln_w4", 3, {**SMALL_HEAD, "non_local_groups": {"res3": 2}}),
    ("net_pytorchvideo_i3d_w4", 0, SMALL_HEAD),
    ("net_pytorchvideo_i3d_w4", 1, SMALL_HEAD),
    ("net_mmaction2_i3d_plain_w4", 0, {}),
    ("net_mmaction2_i3d_embedded_gaussian_w4", 0, EMBEDDED),
]
CAFFE2 = [
    ("i3d_nl_8x8_w8", "official_8x8"),
    ("c2d_8x8_w4", "official_8x8"),
    ("c2d_32x2_org_w4", "official_32x2"),
    ("i3d_nl_affine_32x4_w4", "official_32x4"),
]
RECIPES = [
    ("net_pytorchvideo_hub_fullwidth_recipe", "model_state", 3),
    ("net_mmaction2_c2d_fullwidth_recipe", "state_dict", 1),
    ("net_gluoncv_fullwidth_recipe", None, 4),
]


def recipe():
    spec = importlib.util.spec_from_file_location("recipe", VECTORS / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def difference(model, clip, wanted, *, probabilities=False):
    with torch.no_grad():
        found = model.double().eval()(clip.double())
    return ((found.softmax(1) if probabilities else found) - wanted).abs().max().item()


@pytest.mark.parametrize(("name", "number", "options"), STORED)
def test_stored_networks(tmp_path, name, number, options):
    fixture = torch.load(VECTORS / f"{name}.pt", weights_only=True)
    wrapper = "model_state" if "model_state" in fixture else "state_dict"
    torch.save({wrapper: fixture[wrapper]}, tmp_path / "weights.pth")
    case = fixture["cases"][number]
    loaded = load_checkpoint(tmp_path / "weights.pth", options=options)
    assert len(loaded.report.loaded) == len(fixture[wrapper])
    assert not loaded.report.new
    probabilities = "probs" in case["name"]
    clip = case["input_i8"].float() / 32
    assert difference(loaded.model, clip, case["output"], probabilities=probabilities) < 1e-9


@pytest.mark.parametrize(("tag", "preset"), CAFFE2)
def test_official_networks(tag, preset):
    fixture = np.load(VECTORS / f"c2_{tag}.npz")
    path = VECTORS / f"c2_{tag}.pkl"
    loaded = load_checkpoint(path, options={"preset": preset})
    clip = torch.from_numpy(fixture["input_i8"]).float() / 32
    with torch.no_grad():
        logits = loaded.model(clip)
    assert np.abs(logits.numpy() - fixture["pred"].reshape(logits.shape)).max() < 1e-5
    assert np.abs(logits.softmax(1).numpy() - fixture["softmax"]).max() < 1e-6
    meta = json.loads(str(fixture["meta"]))
    assert len([k for k in loaded.report.loaded if "num_batches" not in k]) == len(meta["shapes"])
    skipped = " ".join(loaded.report.skipped)
    assert skipped.count("momentum of the training") == 3
    assert "lr (state of the training)" in skipped
    by_name = create_model(
        loaded.model.config["name"],
        pretrained=str(path),
        num_classes=logits.shape[1],
        preset=preset,
    ).eval()
    with torch.no_grad():
        assert torch.equal(by_name(clip), logits)


def full_state(numpy_recipe, shapes):
    state = {k: torch.from_numpy(np.asarray(v)) for k, v in numpy_recipe.state(shapes).items()}
    order = {key: place for place, key in enumerate(shapes)}
    for key in shapes:
        tied = key.replace("W_bn.0.", "W.").replace("W_bn.1.", "bn.").replace("head.1.", "fc.")
        if tied != key:
            first = min(key, tied, key=order.get)
            state[key] = state[tied] = state[first]
    return state


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wrapper", "number"),
    [(name, wrapper, n) for name, wrapper, count in RECIPES for n in range(count)],
)
def test_full_width_networks(tmp_path, name, wrapper, number):
    case = torch.load(VECTORS / f"{name}.pt", weights_only=True)["cases"][number]
    numpy_recipe = recipe()
    seed, shape = re.search(r"clip\((\d+),\(([\d,]+)\)\)", case["settings"]["input"]).groups()
    clip = numpy_recipe.clip(int(seed), tuple(map(int, shape.split(","))))
    state = full_state(numpy_recipe, case["shapes"])
    torch.save({wrapper: state} if wrapper else state, tmp_path / "weights.pth")
    loaded = load_checkpoint(tmp_path / "weights.pth")
    assert difference(loaded.model, torch.from_numpy(clip), case["output"]) < 1e-9
    assert loaded.class_names is not None
    assert loaded.class_names[0] == "abseiling"


@pytest.mark.slow
def test_inflated_images(tmp_path):
    cases = torch.load(VECTORS / "inflate_torchvision_r50_recipe.pt", weights_only=True)["cases"]
    numpy_recipe = recipe()
    shapes = {**cases[0]["torchvision_shapes"], "fc.weight": (1000, 2048), "fc.bias": (1000,)}
    state = {k: torch.from_numpy(np.asarray(v)) for k, v in numpy_recipe.state(shapes).items()}
    path = str(tmp_path / "resnet50.pth")
    torch.save(state, path)
    i3d = create_model("i3d_r50", pretrained=path, num_classes=5, preset="mmaction2").double()
    clip = torch.from_numpy(numpy_recipe.clip(30, (1, 3, 32, 64, 64))).double()
    with torch.no_grad():
        features = i3d.eval().forward_features(clip).mean((2, 3, 4))
    assert (features - cases[0]["output"]).abs().max() < 1e-9
    c2d = create_model("c2d_r50", pretrained=path, num_classes=1000, head_pool="global").double()
    images = torch.from_numpy(numpy_recipe.clip(31, (2, 3, 64, 64))).double()
    still = images[:, :, None].expand(-1, -1, 6, -1, -1)
    assert difference(c2d, still, cases[1]["output"]) < 1e-9
