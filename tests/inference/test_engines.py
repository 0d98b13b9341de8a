"""``--engine`` and ``--precision``: what computes the network, and what results say of it."""

import json
import sys

import pytest
import torch

from tests.inference.networks import write_checkpoint
from tests.videos import numbered_frames, write_video
from videonl import Predictor
from videonl.cli.main import main
from videonl.errors import VideoNLError


def test_without_the_package_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)
    write_video(tmp_path / "v.mp4", numbered_frames(12))
    flags = ["--checkpoint", str(write_checkpoint(tmp_path)), "--engine", "openvino"]
    flags += ["--device", "cpu"]
    for command in (
        ["predict", str(tmp_path / "v.mp4")],
        ["predict", str(tmp_path / "v.mp4"), "--timeline"],
        ["extract", str(tmp_path / "v.mp4"), "--out", str(tmp_path / "features")],
        ["live", str(tmp_path / "v.mp4")],
        ["serve", "--port", "0"],
    ):
        assert main([*command, *flags]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert "--engine openvino needs the package openvino" in said[-1], command
        assert said[-1].endswith("pip install 'videonl[openvino]'")


def test_bf16_rounds_and_results_say_it(tmp_path, capsys):
    write_video(tmp_path / "v.mp4", numbered_frames(12))
    answers = {}
    for precision in ("32", "bf16"):
        out = tmp_path / f"{precision}.json"
        flags = ["--checkpoint", str(write_checkpoint(tmp_path)), "--device", "cpu", "--quiet"]
        flags += ["--views", "1x1", "--no-isolate"]
        flags += ["--precision", precision, "--json", str(out)]
        assert main(["predict", str(tmp_path / "v.mp4"), *flags]) == 0
        written = json.loads(out.read_text("utf-8"))
        assert written["model"].get("precision") == (None if precision == "32" else "bf16")
        assert "engine" not in written["model"]
        classes = written["predictions"][0]["classes"]
        answers[precision] = {each["class"]: each["probability"] for each in classes}
    assert answers["bf16"] != answers["32"]
    assert answers["bf16"] == pytest.approx(answers["32"], abs=0.05)
    assert capsys.readouterr().err.count("bf16 is slower than float32 on this CPU") == 1


def test_unknown_ones_and_other_devices_are_refused(tmp_path):
    predictor = Predictor.from_checkpoint(write_checkpoint(tmp_path), device="cpu")
    with pytest.raises(VideoNLError, match="--engine tvm: use one of torch, openvino"):
        predictor.compute_with("tvm")
    with pytest.raises(VideoNLError, match="--precision 16: use one of 32, bf16"):
        predictor.compute_with(precision="16")
    predictor.device = torch.device("cuda:0")
    with pytest.raises(VideoNLError, match="computes on the CPU, not on cuda:0"):
        predictor.compute_with("openvino")
