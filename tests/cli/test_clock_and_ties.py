"""One clock and one order of equal scores through the commands."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.inference.networks import PREPROCESSING
from tests.videos import write_timed, write_video
from videonl.cli.main import main
from videonl.models import create_model
from videonl.weights import LoadedModel, save_checkpoint

NAMES = [f"c{number}" for number in range(7)]


def write_model(folder: Path, *, equal: bool = False, **preprocessing: Any) -> str:
    """A network with a non-local block; ``equal``: all its classes have one score."""
    torch.manual_seed(0)
    model = create_model("tiny_i3d_nl1", num_classes=len(NAMES), width=8).eval()
    if equal:
        torch.nn.init.zeros_(model.head.projection.weight)
        torch.nn.init.zeros_(model.head.projection.bias)
    path = folder / "m.safetensors"
    save_checkpoint(LoadedModel(model, NAMES, {**PREPROCESSING, **preprocessing}), path)
    return str(path)


def call(*words: object) -> int:
    return main([str(word) for word in (*words, "--no-isolate", "--device", "cpu")])


def test_every_output_has_the_times_of_a_player(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    video = write_timed(tmp_path / "v.mp4", [2 + i / 10 for i in range(41)], last=4, sound=1)
    predict = ["predict", video, "--checkpoint", model]
    assert call(*predict, "--views", "2x1", "--json", tmp_path / "p.json") == 0
    (told,) = json.loads((tmp_path / "p.json").read_text())["predictions"]
    for view in told["views"]:
        assert view["seconds"] == pytest.approx([2 + f / 10 for f in view["frames"]], abs=2e-3)
    page = tmp_path / "page.html"
    lines = ["--timeline", "--json", tmp_path / "t.json", "--csv", tmp_path / "s.csv"]
    assert call(*predict, *lines, "--views", "1x1", "--report", page) == 0
    (found,) = json.loads((tmp_path / "t.json").read_text())["timelines"]
    assert found["duration"] == pytest.approx(10, abs=2e-3)
    assert found["windows"][0]["start"] == pytest.approx(2, abs=2e-3)
    assert found["windows"][-1]["end"] == pytest.approx(10, abs=2e-3)
    assert found["segments"][0]["start"] == pytest.approx(2, abs=2e-3)
    rows = list(csv.DictReader((tmp_path / "s.csv").open(encoding="utf-8")))
    assert float(rows[0]["start"]) == pytest.approx(2, abs=2e-3)
    html = page.read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S)[1])  # type: ignore[index]
    assert data["duration"] == pytest.approx(10, abs=2e-3)
    assert data["pictures"][0] == pytest.approx(2, abs=2e-3)
    assert data["begins"][0] == pytest.approx(2, abs=2e-3)
    out = tmp_path / "features"
    assert call("extract", video, "--checkpoint", model, "--out", out) == 0
    with np.load(out / "v.mp4.npz") as content:
        assert content["start"][0] == pytest.approx(2, abs=2e-3)
        assert content["end"][-1] == pytest.approx(10, abs=2e-3)
    words = ["attend", video, "--checkpoint", model, "--out", tmp_path / "a"]
    for start, first in ((4, 4.0), (9, 5.4)):
        assert call(*words, "--start", start) == 0
        (file,) = (tmp_path / "a").rglob("*.json")
        seconds = json.loads(file.read_text())["clip"]["seconds"]
        assert seconds[0] == pytest.approx(first, abs=2e-3)
        file.unlink()
    assert call(*words, "--start", 11) == 2


def test_features_are_sampled_by_time_as_the_network_was_trained(tmp_path: Path) -> None:
    model = write_model(tmp_path, fps=10.0)
    slow = write_video(tmp_path / "slow.mp4", 40, fps=10)
    fast = write_video(tmp_path / "fast.mkv", 40, fps=20, times=[*range(0, 40, 2), *range(40, 60)])
    for video, windows in ((slow, 9), (fast, 6)):  # 40 ticks, 30 ticks; windows of 8, every 4
        assert call("extract", video, "--checkpoint", model, "--out", tmp_path / "f") == 0
        with np.load(tmp_path / "f" / f"{video.name}.npz") as content:
            assert len(content["features"]) >= windows
            assert content["start"][1] - content["start"][0] == pytest.approx(0.4)
            length = content["end"] - content["start"]
            np.testing.assert_allclose(length, 0.8, atol=0.06)  # the last picture's own gap
    ends = {name: np.load(tmp_path / "f" / f"{name}.npz")["end"][-1] for name in
            ("slow.mp4", "fast.mkv")}  # fmt: skip
    assert ends == pytest.approx({"slow.mp4": 4.0, "fast.mkv": 3.0}, abs=0.06)


def test_a_layer_whose_axes_are_not_known_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "v.mp4", 12)
    words = ["extract", video, "--checkpoint", write_model(tmp_path), "--out", tmp_path / "f"]
    assert call(*words, "--layer", "head.projection") == 0
    with np.load(tmp_path / "f" / "v.mp4.npz") as content:
        assert content["features"].shape[1] == len(NAMES)
    monkeypatch.setattr(
        "videonl.models.resnet3d.Head.forward",
        lambda _, x: x.mean((2, 3, 4))[:, None].expand(-1, 3, -1),
    )
    assert call(*words, "--layer", "head", "--overwrite") == 2
    assert "the axis of its channels cannot be determined" in capsys.readouterr().err


def test_equal_scores_name_the_first_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path, equal=True)
    for number, name in enumerate(NAMES):
        write_video(tmp_path / "data" / "test" / name / f"{number}.mp4", 8)
    predict = ["predict", tmp_path / "data", "--checkpoint", model]
    assert call(*predict, "--views", "1x1", "--json", tmp_path / "p.json", "--quiet") == 0
    labels = {line.split("\t")[1] for line in capsys.readouterr().out.splitlines()}
    assert labels == {"c0"}
    for told in json.loads((tmp_path / "p.json").read_text())["predictions"]:
        assert [entry["class"] for entry in told["classes"]] == NAMES[:5]
    assert call(*predict, "--timeline", "--json", tmp_path / "t.json") == 0
    for told in json.loads((tmp_path / "t.json").read_text())["timelines"]:
        assert [entry["class"] for entry in told["windows"][0]["classes"]] == NAMES[:5]
        assert {segment["class"] for segment in told["segments"]} == {"c0"}
    compare = ["compare", model, "--data", tmp_path / "data", "--split", "test"]
    assert main([*map(str, compare), "--no-speed", "--views", "1x1", "--out",
                 str(tmp_path / "cmp"), "--device", "cpu"]) == 0  # fmt: skip
    (row,) = json.loads((tmp_path / "cmp" / "compare.json").read_text())["rows"]
    assert row["top1"]["correct"] == 1
    assert row["top5"]["correct"] == 5
