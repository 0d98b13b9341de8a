"""Time is seconds: files of another frame rate than the training's show things as fast as it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.inference.networks import NAMES, PREPROCESSING
from tests.odd_videos import write_odd
from tests.serve.serving import serving
from tests.videos import numbered_frames, write_video
from videonl import Predictor
from videonl.cli.main import main
from videonl.models import create_model
from videonl.video import Preprocessing
from videonl.weights import LoadedModel, save_checkpoint

Shown = pytest.CaptureFixture[str]
NOTE = "frames per second, but the network was trained at 25"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene of 2.4 s at 50, 25 and 12.5 frames per second, and a network trained at 25."""
    folder = tmp_path_factory.mktemp("rates")
    frames = numbered_frames(120)
    for name, step in (("50", 1), ("25", 2), ("12", 4)):
        times = list(range(0, 120, step))
        write_video(folder / f"{name}.mkv", frames[::step], fps=50, codec="ffv1",
                    pixel_format="bgr0", times=times)  # fmt: skip
    torch.manual_seed(0)
    model = create_model("tiny_i3d_nl1", num_classes=3, width=8)
    torch.nn.init.normal_(model.head.projection.weight, std=2.0)
    shown = {**PREPROCESSING, "rate": 25.0}
    save_checkpoint(LoadedModel(model.eval(), NAMES, shown), folder / "model.safetensors")
    return folder


def predictor_of(place: Path, **options: Any) -> Predictor:
    return Predictor.from_checkpoint(place / "model.safetensors", device="cpu", options=options)


def test_one_scene_at_three_rates(place: Path) -> None:
    predictor = predictor_of(place)
    half, own, double = (
        predictor.predict(place / f"{name}.mkv", views=(3, 1)) for name in ("12", "25", "50")
    )
    for one, other in zip(own.views, double.views, strict=True):
        assert one.seconds == pytest.approx(other.seconds, abs=2e-3)
        assert [2 * frame for frame in one.frames] == list(other.frames)
    assert double.probabilities == pytest.approx(own.probabilities, abs=1e-6)
    for one, other in zip(own.views, half.views, strict=True):
        assert one.seconds == pytest.approx(other.seconds, abs=0.08)  # the picture on display
    counted = predictor_of(place, fps=None, rate=None).predict(place / "50.mkv", views=(3, 1))
    assert counted.views[0].seconds[-1] == pytest.approx(own.views[0].seconds[-1] / 2, abs=2e-3)


@pytest.mark.parametrize(
    ("rate", "fps"), [(24.0, None), (25.9, None), (30.0, 25.0), (23.0, 25.0), (1e-4, None)]
)
def test_what_is_noticeable(rate: float, fps: float | None) -> None:
    value = Preprocessing(8, 4, 32, 32, rate=25.0)
    assert value.for_rate(rate).fps == fps
    assert value.changed(fps=10.0).for_rate(rate).fps == 10.0
    assert value.changed(rate=None).for_rate(rate).fps is None


def test_a_video_that_is_shorter_than_a_clip_is_named_once(place: Path) -> None:
    predictor, said = predictor_of(place), list[str]()
    predictor.say = said.append
    for part in ("", "#t=0,0.27", "#t=0,0.1", "#t=1,1.1"):
        predictor.predict(f"{place / '25.mkv'}{part}", views=(1, 1))
    (words,) = said
    assert "#t=0,0.1 lasts 0.1" in words
    assert "a clip of the network 0.28 s: its frames start again" in words


def test_predict_says_it_once(place: Path, tmp_path: Path, capsys: Shown) -> None:
    words = ["--checkpoint", str(place / "model.safetensors"), "--views", "1x1", "--no-isolate"]
    files = [str(place / f"{name}.mkv") for name in ("12", "25", "50")]

    def middle(*more: str) -> list[float]:
        out = tmp_path / "out.json"
        assert main(["predict", *files, *words, "--json", str(out), *more]) == 0
        entries = json.loads(out.read_text("utf-8"))["predictions"]
        return [np.diff(entry["views"][0]["seconds"]).mean() for entry in entries]

    np.testing.assert_allclose(middle(), [0.08] * 3, atol=3e-3)
    assert capsys.readouterr().err.count(NOTE) == 1
    np.testing.assert_allclose(middle("--fps", "training"), [0.08] * 3, atol=3e-3)
    assert NOTE in capsys.readouterr().err
    np.testing.assert_allclose(middle("--fps", "keep"), [0.16, 0.08, 0.04], atol=3e-3)
    assert NOTE not in capsys.readouterr().err
    np.testing.assert_allclose(middle("--fps", "12.5"), [0.16] * 3, atol=3e-3)
    assert NOTE not in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", *files, *words, "--fps", "fast"])
    assert "'fast' is not keep, training or a number" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", *files, *words, "--fps", "0"])
    assert "--fps: '0' is not keep, training or a number above 0 and" in capsys.readouterr().err


def test_extract_and_attend_count_alike(place: Path, tmp_path: Path, capsys: Shown) -> None:
    words = ["--checkpoint", str(place / "model.safetensors"), "--no-isolate"]
    found = {}
    for name in ("25", "50"):
        folder = tmp_path / name
        assert main(["extract", str(place / f"{name}.mkv"), *words, "--out", str(folder)]) == 0
        assert (NOTE in capsys.readouterr().err) == (name == "50")
        with np.load(folder / f"{name}.mkv.npz") as content:
            found[name] = content["features"], content["start"]
    for one, other in zip(found["25"], found["50"], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)

    seconds = {}
    for name in ("25", "50"):
        folder = tmp_path / f"attend{name}"
        assert main(["attend", str(place / f"{name}.mkv"), *words, "--out", str(folder)]) == 0
        assert (NOTE in capsys.readouterr().err) == (name == "50")
        (file,) = folder.glob("*.json")
        seconds[name] = json.loads(file.read_text("utf-8"))["clip"]["seconds"]
    assert seconds["25"] == pytest.approx(seconds["50"], abs=2e-3)


def test_a_server_counts_alike(place: Path) -> None:
    with serving(place / "model.safetensors") as server:
        found = {}
        for name in ("25", "50"):
            status, found[name], _ = server.post("/predict", (place / f"{name}.mkv").read_bytes())
            assert status == 200
    first, second = (found[name]["views"][0]["seconds"] for name in ("25", "50"))
    assert first == pytest.approx(second, abs=2e-3)
    for one, other in zip(found["25"]["classes"], found["50"]["classes"], strict=True):
        assert one["class"] == other["class"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)


def test_a_timeline_takes_windows_of_a_clip(place: Path, tmp_path: Path, capsys: Shown) -> None:
    words = ["--timeline", "--checkpoint", str(place / "model.safetensors"), "--no-isolate"]

    def windows(name: str, *more: str) -> list[dict[str, Any]]:
        out = tmp_path / "out.json"
        assert main(["predict", str(place / name), *words, "--json", str(out), *more]) == 0
        (entry,) = json.loads(out.read_text("utf-8"))["timelines"]
        return entry["windows"]

    for name in ("25.mkv", "50.mkv"):  # 4 frames, 2 apart: 7 of 1/25 s, also where it has 50
        first, second = windows(name)[:2]
        assert first["end"] - first["start"] == pytest.approx(0.28)
        assert second["start"] - first["start"] == pytest.approx(0.14)
    assert "is shorter" not in capsys.readouterr().err
    windows("25.mkv", "--window", "200ms")
    assert "a window of 0.2 s is shorter than a clip of the network, 0.28 s" in (
        capsys.readouterr().err
    )
    windows("25.mkv", "--window", "1s")
    assert "is shorter" not in capsys.readouterr().err


def test_a_high_dynamic_range_is_said_once(place: Path, tmp_path: Path, capsys: Shown) -> None:
    files = [write_odd("high_range.mov", tmp_path / name) for name in ("a", "b")]
    words = ["--checkpoint", str(place / "model.safetensors"), "--views", "1x1", "--device", "cpu"]
    assert main(["predict", *map(str, files), str(place / "25.mkv"), *words]) == 0
    said = capsys.readouterr().err
    assert f"{files[0]} is of high dynamic range (HLG)" in said
    assert said.count("high dynamic range") == 1
