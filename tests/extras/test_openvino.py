"""``--engine openvino``: the answers of torch, converted once, in every command that has it."""

import json

import numpy as np
import pytest
import torch

from tests.inference.networks import PREPROCESSING, write_checkpoint
from tests.videos import numbered_frames, write_video
from videonl import Predictor
from videonl.cli.main import main
from videonl.inference import FeatureExtractor, Windows
from videonl.layers import AFFINITIES
from videonl.models import create_model

pytestmark = [pytest.mark.extras, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="see make test-extras")
    monkeypatch.setenv("VIDEONL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def predictor_of(affinity="embedded_gaussian", **shown) -> Predictor:
    torch.manual_seed(0)
    net = create_model(
        "tiny_i3d",
        num_classes=3,
        width=4,
        layers=(1,),
        non_local={"res2": (0,)},
        non_local_options={"affinity": affinity},
    )
    for parameter in net.parameters():  # a block at its start adds nothing
        if parameter.dim() > 0:
            torch.nn.init.normal_(parameter, std=0.5)
    return Predictor(
        net, class_names=["a", "b", "c"], preprocessing=PREPROCESSING | shown, device="cpu"
    )


@pytest.mark.parametrize("affinity", sorted(AFFINITIES))
def test_answers_are_those_of_torch_and_converted_once(cache, affinity):
    predictor, said = predictor_of(affinity), []
    predictor.say = said.append
    frames = torch.randint(0, 256, (5, 4, 16, 16, 3), dtype=torch.uint8)
    expected = predictor.view_probabilities(frames)
    predictor.compute_with("openvino")
    torch.testing.assert_close(predictor.view_probabilities(frames), expected, rtol=1e-4, atol=1e-6)
    assert said == []
    assert predictor.made_by()["engine"].startswith("openvino ")
    (kept,) = cache.iterdir()
    before = (kept / "network.bin").stat().st_mtime_ns
    predictor.compute_with("openvino")
    predictor.view_probabilities(frames)
    assert (kept / "network.bin").stat().st_mtime_ns == before, "converted again"
    (kept / "network.xml").write_text("<", encoding="utf-8")  # not whole: converted again
    predictor.compute_with("openvino")
    predictor.view_probabilities(frames)
    assert said == []
    assert (kept / "network.bin").stat().st_mtime_ns > before


def test_whole_pictures_and_layers(cache):
    predictor = predictor_of(rectangle=[16, 24], views=[1, 1])
    frames = torch.randint(0, 256, (2, 6, 16, 24, 3), dtype=torch.uint8)
    windows = Windows(window=6, stride=6, frames=6)
    said = []
    predictor.say = said.append
    for layer in ("pool", "res2"):
        extractor = FeatureExtractor(predictor, layer=layer, windows=windows)
        predictor.compute_with("torch")
        expected = extractor.features(frames)
        predictor.compute_with("openvino")
        np.testing.assert_allclose(extractor.features(frames), expected, rtol=1e-3, atol=1e-4)
        assert said == []
    assert len(list(cache.iterdir())) == 2


class Mean(torch.nn.Module):
    def forward(self, clips):
        return clips.mean((2, 3, 4))


@pytest.mark.parametrize("wrong", ["another answer", "no answer"])
def test_what_openvino_computes_wrongly_torch_computes(monkeypatch, wrong):
    import openvino

    other = openvino.convert_model(torch.export.export(Mean(), (torch.zeros(1, 3, 4, 16, 16),)))

    def convert(_program):
        if wrong == "no answer":
            raise RuntimeError("no rule")
        return other

    monkeypatch.setattr(openvino, "convert_model", convert)
    predictor, said = predictor_of(), []
    predictor.say = said.append
    frames = torch.randint(0, 256, (1, 4, 16, 16, 3), dtype=torch.uint8)
    expected = predictor.view_probabilities(frames)
    predictor.compute_with("openvino")
    assert torch.equal(predictor.view_probabilities(frames), expected)
    reason = "no rule" if wrong == "no answer" else "its output differs from PyTorch's by"
    assert len(said) == 1
    assert f"PyTorch does: {reason}" in said[0]
    assert "engine" not in predictor.made_by()


def test_commands(tmp_path, capsys):
    video = tmp_path / "v.mp4"
    write_video(video, numbered_frames(24))
    checkpoint = write_checkpoint(tmp_path)
    answers = {}
    for engine in ("torch", "openvino"):
        flags = ["--checkpoint", str(checkpoint), "--device", "cpu", "--engine", engine, "--quiet"]
        json_file, line = tmp_path / f"{engine}.json", tmp_path / f"{engine}-t.json"
        assert main(["predict", str(video), *flags, "--json", str(json_file)]) == 0
        assert main(["predict", str(video), *flags, "--timeline", "--json", str(line)]) == 0
        out = tmp_path / engine
        assert main(["extract", str(video), *flags, "--out", str(out)]) == 0
        written = json.loads(json_file.read_text("utf-8"))
        assert ("engine" in written["model"]) == (engine == "openvino")
        features = np.load(out / "v.mp4.npz")["features"]
        classes = written["predictions"][0]["classes"]
        answers[engine] = features, {each["class"]: each["probability"] for each in classes}
    np.testing.assert_allclose(answers["openvino"][0], answers["torch"][0], rtol=1e-3, atol=1e-5)
    assert answers["openvino"][1] == pytest.approx(answers["torch"][1], abs=1e-5)
    assert "PyTorch does" not in capsys.readouterr().err
