"""The published networks, in the peers' keys: the peers' logits to 1e-9 in float64."""

import re

import pytest
import torch

from tests.marks import mostly_slow
from tests.models.peer_networks import PEERS, Forward, make_state
from videonl.models import create_model
from videonl.weights import load_checkpoint

EMBEDDED = {"non_local_options": {"affinity": "embedded_gaussian"}}
DOT = {"non_local_options": {"affinity": "dot_product"}}
SMALL_HEAD = {"head_window": (2, 2)}  # the head of 64 x 64 pixels
# peer -> (container of the weights, options that the file does not tell, registered name)
FILES = {
    "pyslowfast c2d": ("model_state", SMALL_HEAD, "c2d_r50"),
    "pyslowfast slow": ("model_state", SMALL_HEAD, "slowonly_r50"),
    "pyslowfast i3d": ("model_state", SMALL_HEAD, "i3d_r50"),
    "pyslowfast i3d nln": ("model_state", SMALL_HEAD, "i3d_r50_nl5"),
    "pytorchvideo c2d": ("model_state", SMALL_HEAD, "c2d_r50"),
    "pytorchvideo i3d": ("model_state", SMALL_HEAD, "i3d_r50"),
    "pytorchvideo slow": ("model_state", SMALL_HEAD, "slowonly_r50"),
    "mmaction2 i3d": ("state_dict", {}, "i3d_r50"),
    "mmaction2 i3d embedded gaussian": ("state_dict", EMBEDDED, "i3d_r50_nl5"),
    "mmaction2 i3d dot product": ("state_dict", DOT, "i3d_r50_nl5"),
    "mmaction2 slowonly": ("state_dict", EMBEDDED, "slowonly_r50_nl5"),
    "mmaction2 c2d": ("state_dict", {}, "c2d_r50"),
    "gluoncv nl0": (None, {}, "i3d_r50"),
    "gluoncv nl5": (None, {}, "i3d_r50_nl5"),
    "gluoncv nl10": (None, {}, "i3d_r50_nl10"),
    "gluoncv r101 nl5": (None, {}, "i3d_r101_nl5"),
}
FRAMES = {"mmaction2 i3d": 32, "gluoncv": 32}  # four times as many where the stem strides twice


def clip_for(name, side=64, batch=1):
    frames = next((n for start, n in FRAMES.items() if name.startswith(start)), 8)
    random = torch.Generator().manual_seed(len(name))
    return torch.randn(batch, 3, frames, side, side, generator=random)


def loaded_from(tmp_path, state, wrapper, options):
    torch.save({wrapper: state} if wrapper else state, tmp_path / "weights.pth")
    return load_checkpoint(tmp_path / "weights.pth", options=options)


def difference(model, clip, peer, wanted):
    with torch.no_grad():
        found = model.double().eval()(clip.double())
    return ((found.softmax(1) if peer.probabilities else found) - wanted).abs().max().item()


TOLD = ("pyslowfast c2d", "pyslowfast i3d nln", "pytorchvideo slow", "mmaction2 i3d dot product")
TOLD += ("mmaction2 slowonly", "gluoncv nl5")


@pytest.mark.parametrize("name", mostly_slow(PEERS, quick=TOLD))
def test_small_networks(tmp_path, name):
    peer, (wrapper, options, registered) = PEERS[name], FILES[name]
    state = make_state(peer)
    loaded = loaded_from(tmp_path, state, wrapper, options)
    assert loaded.model.config["name"] == registered
    assert not loaded.report.new
    copies = sum("tied copy" in text for text in loaded.report.skipped)
    assert len(loaded.report.loaded) + copies == len(state)
    clip = clip_for(name)
    assert difference(loaded.model, clip, peer, Forward(peer, state)(clip)) < 1e-9


@pytest.mark.parametrize(
    "name", mostly_slow(["pyslowfast i3d nln", "pytorchvideo i3d"], quick=["pyslowfast i3d nln"])
)
def test_large_frames_have_several_cells(tmp_path, name):
    """PySlowFast averages probabilities, PyTorchVideo logits; either may be asked for."""
    peer, (wrapper, options, _) = PEERS[name], FILES[name]
    state, clip = make_state(peer), clip_for(name, side=96, batch=2)
    computed = Forward(peer, state)
    assert computed.cells(clip).shape[1] == 4
    loaded = loaded_from(tmp_path, state, wrapper, options)
    assert difference(loaded.model, clip, peer, computed(clip)) < 1e-9
    asked = loaded_from(tmp_path, state, wrapper, {**options, "head_average": "logits"})
    with torch.no_grad():
        logits = asked.model.double().eval()(clip.double())
    assert (logits - computed.cells(clip).mean(1)).abs().max() < 1e-9


def test_groups_of_frames(tmp_path):
    peer, (wrapper, options, _) = PEERS["pyslowfast i3d nln"], FILES["pyslowfast i3d nln"]
    state, clip = make_state(peer), clip_for("groups", batch=2)
    loaded = loaded_from(tmp_path, state, wrapper, {**options, "non_local_groups": {"res3": 2}})
    wanted = Forward(peer, state, groups=2)(clip)
    assert difference(loaded.model, clip, peer, wanted) < 1e-9
    assert (wanted - Forward(peer, state)(clip)).abs().max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["pytorchvideo i3d", "pytorchvideo slow", "mmaction2 c2d", "gluoncv nl10", "gluoncv r101 nl5"],
)
def test_full_width_networks(tmp_path, name):
    """400 classes get the names of Kinetics."""
    peer, (wrapper, options, _) = PEERS[name], FILES[name]
    state, clip = make_state(peer, width=64, classes=400), clip_for(name)
    loaded = loaded_from(tmp_path, state, wrapper, options)
    assert difference(loaded.model, clip, peer, Forward(peer, state)(clip)) < 1e-9
    assert loaded.class_names is not None
    assert loaded.class_names[0] == "abseiling"


def inflated_by_mmaction2(images):
    """Its own start from torchvision's weights: W3d = repeat(W2d, k) / k."""
    peer = PEERS["mmaction2 i3d"]
    shapes = make_state(peer, width=64, classes=5)
    state = {}
    for key, value in images.items():
        key = re.sub(r"^(layer\d\.\d+)\.conv(\d)\.", r"backbone.\1.conv\2.conv.", key)
        key = re.sub(r"^(layer\d\.\d+)\.bn(\d)\.", r"backbone.\1.conv\2.bn.", key)
        key = re.sub(r"^(layer\d\.0\.downsample)\.0\.", r"backbone.\1.conv.", key)
        key = re.sub(r"^(layer\d\.0\.downsample)\.1\.", r"backbone.\1.bn.", key)
        key = re.sub(r"^conv1\.", "backbone.conv1.conv.", key)
        key = re.sub(r"^bn1\.", "backbone.conv1.bn.", key)
        if value.dim() == 4:
            extent = shapes[key].shape[2]
            value = value[:, :, None].repeat(1, 1, extent, 1, 1) / extent
        state[key] = value
    return Forward(peer, state)


@pytest.mark.slow
def test_inflated_images(tmp_path):
    from torchvision.models import resnet50

    torch.manual_seed(0)
    peer = resnet50()
    path = str(tmp_path / "resnet50.pth")
    torch.save(peer.state_dict(), path)
    i3d = create_model("i3d_r50", pretrained=path, num_classes=5, preset="mmaction2").double()
    clip = torch.randn(1, 3, 32, 64, 64)
    with torch.no_grad():
        features = i3d.eval().forward_features(clip.double()).mean((2, 3, 4))
    wanted = inflated_by_mmaction2(peer.state_dict()).features(clip).mean((2, 3, 4))
    assert (features - wanted).abs().max() < 1e-9


def test_classes_keep_their_names_beside_new_blocks(tmp_path):
    state = make_state(PEERS["pytorchvideo c2d"], classes=400)
    options = {**SMALL_HEAD, "non_local": {"res3": [1]}}
    loaded = loaded_from(tmp_path, state, "model_state", options)
    assert any(".non_local." in key for key in loaded.report.new)
    assert loaded.class_names[0] == "abseiling"
