"""``--protocol``: a network of one's own as a publisher tests, at every command that shows videos.

The words are the same everywhere, nothing of it stays in the checkpoint, and it is said.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.checkpoints import write_ckpt
from tests.inference.networks import NAMES
from tests.videos import write_video
from videonl.cli.main import main
from videonl.errors import VideoNLError
from videonl.video import PROTOCOLS, Preprocessing, under_protocol
from videonl.weights import load_checkpoint

Printed = pytest.CaptureFixture[str]
LENGTH, FRAMES, STRIDE = 40, 4, 2  # of the video; of the network's clips


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``own.ckpt`` and ``data/test/<class>/0.mp4``."""
    folder = tmp_path_factory.mktemp("protocol")

    def change(content: dict[str, Any]) -> None:
        clip = {"frames": FRAMES, "stride": STRIDE, "short_side": 40, "crop": 32, "rate": 30.0}
        content["hyper_parameters"]["preprocessing"] |= {**clip, "views": (1, 1)}

    write_ckpt(folder / "own.ckpt", change)
    noise = np.random.default_rng(0).integers(0, 255, (LENGTH, 44, 60, 3), np.uint8)
    for name in NAMES:
        write_video(folder / "data" / "test" / name / "0.mp4", noise, fps=30)
    return folder


def firsts(name: str) -> list[int]:
    """Where the clips begin, after the publishers' sources."""
    last = LENGTH - (FRAMES - 1) * STRIDE - 1
    if name in ("pyslowfast", "pytorchvideo"):
        return [int(i * (LENGTH - FRAMES * STRIDE) / 10) for i in range(10)]
    if name == "caffe2":
        return [i * LENGTH // 10 for i in range(10)]
    if name == "mmaction2":
        return [round(i * last / 9) for i in range(10)]
    clips = 10 if name == "gluoncv" else 5
    return [STRIDE * int(i * (LENGTH // STRIDE - FRAMES) / (clips - 1)) for i in range(clips)]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_infer_looks_as_the_publisher(
    name: str, place: Path, tmp_path: Path, capsys: Printed
) -> None:
    video = place / "data" / "test" / NAMES[0] / "0.mp4"
    before = (place / "own.ckpt").read_bytes()
    words = ["predict", str(video), "--checkpoint", str(place / "own.ckpt"), "--device", "cpu"]
    words += ["--no-isolate", "--json", str(tmp_path / "a.json"), "--protocol", name]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert f"protocol of {name}: {'5x1' if name == 'torchvision' else '10x3'} of 4x" in said
    content = json.loads((tmp_path / "a.json").read_text("utf-8"))
    (prediction,) = content["predictions"]
    assert [view["frames"][0] for view in prediction["views"]] == firsts(name)
    shown = content["protocol"]
    for key, value in {**PROTOCOLS[name], "frames": FRAMES, "stride": STRIDE}.items():
        if key not in ("views", "average"):
            assert shown[key] == value, key
    assert ("logits" in shown["average"]) == (name == "gluoncv")
    assert (place / "own.ckpt").read_bytes() == before


@pytest.mark.slow
def test_every_command_takes_it(place: Path, tmp_path: Path, capsys: Printed) -> None:
    checkpoint, data = str(place / "own.ckpt"), str(place / "data")
    video = str(place / "data" / "test" / NAMES[0] / "0.mp4")
    protocol = ["--protocol", "caffe2"]
    cpu = ["--device", "cpu"]
    own = ["--checkpoint", checkpoint, *cpu, "--no-isolate", *protocol]

    assert main(["extract", video, *own, "--out", str(tmp_path / "x")]) == 0
    assert main(["attend", video, *own, "--out", str(tmp_path / "y")]) == 0
    assert capsys.readouterr().err.count("protocol of caffe2: 10x3 of 4x40², places length") == 2

    out = str(tmp_path / "table")
    words = ["compare", checkpoint, "tiny_i3d", "--no-speed", "--out", out, *cpu, *protocol]
    assert main([*words, "--data", data, "--num-classes", "3"]) == 0
    assert "protocol of caffe2" in capsys.readouterr().err
    rows = json.loads((tmp_path / "table" / "compare.json").read_text("utf-8"))["rows"]
    assert [row["views"] for row in rows] == [[10, 3], [10, 3]]

    lightning = ["--trainer.accelerator", "cpu", "--data.num_workers", "0"]
    words = ["train", "test", "--checkpoint", checkpoint, "--data.root", data, *lightning]
    assert main([*words, "--json", str(tmp_path / "t.json"), *protocol]) == 0
    tested = json.loads((tmp_path / "t.json").read_text("utf-8"))
    assert (tested["protocol"]["views"], tested["protocol"]["places"]) == ("10x3", "length")
    assert tested["own_protocol"][0]["protocol"]["views"] == "1x1"
    assert load_checkpoint(checkpoint).preprocessing["views"] == [1, 1]


def test_a_name_that_is_none(place: Path, capsys: Printed) -> None:
    checkpoint = str(place / "own.ckpt")
    train = ["train", "test", "--checkpoint", checkpoint, "--data.root", str(place / "data")]
    for words in (["predict", "a.mp4", "--checkpoint", checkpoint], ["compare", checkpoint], train):
        try:
            code = main([*words, "--protocol", "pyslowfst"])
        except SystemExit as end:
            code = int(end.code or 0)
        assert code == 2
        error = capsys.readouterr().err
        assert "no protocol 'pyslowfst'" in error
        assert "did you mean pyslowfast?" in error


@pytest.mark.parametrize("kind", [{"sampling": "segments"}, {"picture": "whole"}])
def test_clips_that_no_publisher_places(kind: dict[str, str]) -> None:
    own = Preprocessing.from_dict(dict(frames=4, stride=1, short_side=40, crop=32, **kind))
    with pytest.raises(VideoNLError, match=r"--protocol caffe2: .* does not apply to"):
        under_protocol(own, "caffe2")
