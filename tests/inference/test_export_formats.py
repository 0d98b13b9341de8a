"""Exported files: every affinity in every format, what travels in them, what is refused."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from videonl import Predictor
from videonl.errors import VideoNLError
from videonl.inference import export_model
from videonl.layers import NonLocalBlock
from videonl.models import create_model

pytestmark = pytest.mark.timeout(900)  # the exporters are slow on a busy machine

DOCS = Path(__file__).resolve().parents[2] / "docs" / "export.md"
AFFINITIES = (
    pytest.param("gaussian", marks=pytest.mark.slow),
    "embedded_gaussian",
    pytest.param("dot_product", marks=pytest.mark.slow),
    pytest.param("concatenation", marks=pytest.mark.slow),
)
SLOW_ONNX = pytest.param("onnx", marks=pytest.mark.slow)  # by default the docs' example is one
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}
PREPROCESSING = {
    "frames": 4,
    "stride": 2,
    "short_side": 24,
    "crop": 16,
    "mean": [0.45, 0.45, 0.45],
    "std": [0.225, 0.225, 0.225],
}


def small_predictor(affinity="embedded_gaussian", **block) -> Predictor:
    torch.manual_seed(0)
    net = create_model(
        "tiny_i3d",
        num_classes=3,
        width=4,
        layers=(1,),
        non_local={"res2": (0,)},
        non_local_options={"affinity": affinity, **block},
    )
    for parameter in net.parameters():  # a block at its start adds nothing
        if parameter.dim() > 0:
            torch.nn.init.normal_(parameter, std=0.5)
    return Predictor(
        net, class_names=["hop", "jump", "tanz ß"], preprocessing=PREPROCESSING, device="cpu"
    )


@pytest.mark.parametrize("format", [SLOW_ONNX, "torch-export"])
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_every_affinity_agrees_with_the_network(tmp_path, affinity, format):
    predictor = small_predictor(affinity)
    path = tmp_path / f"m{SUFFIXES[format]}"
    made = export_model(predictor, path, format=format)
    assert made.dynamic == ("batch", "frames"), made.fixed_because
    assert made.difference <= 1e-5
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert str(DOCS.parents[1]).encode() not in path.read_bytes(), "where the code lay"
    reference = affinity == "concatenation" and format == "onnx"
    assert made.forms == {"res2.0": "reference" if reference else "fast"}
    clips = torch.randn(2, 3, 6, 16, 16)  # of neither size that was compared
    with torch.no_grad():
        expected = predictor.model(clips)
        predictor.model.get_submodule("res2.0").non_local.g.weight.zero_()
        assert (predictor.model(clips) - expected).abs().max() > 1e-3, "the block must matter"
    torch.testing.assert_close(run(path, format, clips), expected, rtol=1e-4, atol=1e-5)
    content = metadata_of(path, format)
    assert json.loads(content["class_names"]) == ["hop", "jump", "tanz ß"]
    assert json.loads(content["preprocessing"]) == PREPROCESSING
    assert json.loads(content["model"])["name"] == "tiny_i3d"


def run(path, format, clips) -> torch.Tensor:
    """The logits of the file, as anybody computes them."""
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, {"clips": clips.numpy()})[0])
    with torch.no_grad():
        return torch.export.load(path).module()(clips)


def metadata_of(path, format) -> dict[str, str]:
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape == ["batch", 3, "frames", 16, 16]
        assert session.get_outputs()[0].shape == ["batch", 3]
        return session.get_modelmeta().custom_metadata_map
    found = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (code,) = (one for one in found if "model.pt2" in one)
    scope: dict[str, Any] = {}
    exec(compile(code.replace("model.pt2", str(path)), "docs/export.md", "exec"), scope)
    return scope["about"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "block",
    [{"attend": "space"}, {"attend": "time"}, {"temporal_groups": 2}],
    ids=str,
)
def test_blocks_of_parts(tmp_path, block):
    made = export_model(small_predictor(**block), tmp_path / "m.pt2", format="torch-export")
    assert made.difference <= 1e-5
    assert made.dynamic[0] == "batch"
    assert made.fixed_because or made.dynamic == ("batch", "frames")


class OwnAnswerForFourFrames(torch.nn.Module):
    """A network whose graph is another one for other numbers of frames."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x) if x.shape[2] == 4 else 2 * self.net(x)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_frames_are_fixed_where_another_number_would_be_wrong(tmp_path, format):
    predictor = small_predictor()
    predictor.model = OwnAnswerForFourFrames(predictor.model).eval()
    path = tmp_path / f"m{SUFFIXES[format]}"
    made = export_model(predictor, path, format=format)
    assert made.dynamic == ("batch",)
    assert made.fixed_because
    assert made.compared == ((1, 3, 4, 16, 16), (3, 3, 4, 16, 16))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_the_papers_network_takes_any_number_of_frames(tmp_path, format):
    """At a smaller width and size; its head slides a window over space."""
    torch.manual_seed(0)
    net = create_model("i3d_r50_nl5", num_classes=5, width=8).eval()
    for module in net.modules():
        if isinstance(module, NonLocalBlock) and module.norm is not None:
            torch.nn.init.constant_(module.norm.weight, 0.5)
    known = {**net.preprocessing, "crop": 64, "short_side": 64}
    names = [f"class {k}" for k in range(5)]
    predictor = Predictor(net, class_names=names, preprocessing=known, device="cpu")
    made = export_model(predictor, tmp_path / f"m{SUFFIXES[format]}", format=format)
    assert made.dynamic == ("batch", "frames"), made.fixed_because
    assert len(made.forms) == 5


@pytest.mark.parametrize("error", [pytest.param(0.01, marks=pytest.mark.slow), float("nan")])
def test_a_file_that_disagrees_is_not_left_behind(tmp_path, monkeypatch, error):
    load = torch.export.load

    class Wrong:
        def __init__(self, path) -> None:
            self.loaded = load(path).module()

        def module(self):
            return lambda clips: self.loaded(clips) + error

    monkeypatch.setattr(torch.export, "load", Wrong)
    path = tmp_path / "m.pt2"
    path.write_bytes(b"the one before")
    with pytest.raises(VideoNLError, match="not written: its logits differ"):
        export_model(small_predictor(), path, format="torch-export")
    assert [file.name for file in tmp_path.iterdir()] == ["m.pt2"]
    assert path.read_bytes() == b"the one before"


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(VideoNLError, match=r"needs onnxscript: pip install 'videonl\[export\]'"):
        export_model(small_predictor(), tmp_path / "m.onnx")


def test_bad_places_and_formats(tmp_path):
    with pytest.raises(VideoNLError, match="use one of onnx, torch-export"):
        export_model(small_predictor(), tmp_path / "m.onnx", format="tflite")
    with pytest.raises(VideoNLError, match="does not exist"):
        export_model(small_predictor(), tmp_path / "gone" / "m.pt2", format="torch-export")
