"""``videonl attend`` as it is called."""

import json
from pathlib import Path

import pytest
import torch

from tests.videos import write_video
from videonl.cli.main import main
from videonl.models import create_model
from videonl.weights import LoadedModel, save_checkpoint

PREPROCESSING = {
    "frames": 4,
    "stride": 2,
    "short_side": 24,
    "crop": 16,
    "mean": [0.45] * 3,
    "std": [0.225] * 3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("attend")
    torch.manual_seed(0)
    net = create_model("tiny_i3d_nl2", num_classes=2, width=8)
    save_checkpoint(LoadedModel(net.eval(), ["a", "b"], PREPROCESSING), folder / "m.safetensors")
    for number, name in enumerate(("a", "b")):
        for split in ("train", "val"):
            write_video(folder / "data" / split / name / f"{number}.mp4", 16)
    return folder


def run(folder: Path, *words: str) -> int:
    words = ("--checkpoint", str(folder / "m.safetensors"), "--no-isolate", *words)
    return main(["attend", *words])


def test_pictures_of_a_video(folder, tmp_path, capsys):
    video = str(folder / "data/val/a/0.mp4")
    out = tmp_path / "out"
    assert run(folder, video, "--block", "res3.0", "--at", "1,30,30", "--out", str(out)) == 0
    names = ["0.res3.0.json", "0.res3.0.mp4", "0.res3.0.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    said = capsys.readouterr().out
    assert "softmax weights" in said
    assert "given by --at" in said
    assert json.loads((out / names[0]).read_text())["block"] == "res3.0"


def test_without_a_query_the_rule_is_stated(folder, tmp_path, capsys):
    assert run(folder, str(folder / "data/val/b/1.mp4"), "--gif", "--out", str(tmp_path)) == 0
    assert "lowest entropy among a grid" in capsys.readouterr().out
    assert (tmp_path / "1.res4.0.gif").is_file()


def test_numbers_of_a_data_set(folder, tmp_path, capsys):
    words = ["--data", str(folder / "data"), "--queries", "4", "--json"]
    assert run(folder, *words, str(tmp_path / "a.json")) == 0
    table = capsys.readouterr().out
    assert [line.split()[0] for line in table.splitlines()] == ["block", "res3.0", "res4.0", "8"]
    assert run(folder, *words, str(tmp_path / "b.json")) == 0
    first, again = ((tmp_path / name).read_text() for name in ("a.json", "b.json"))
    assert first == again
    content = json.loads(first)
    assert content["videos"] == 2
    row = content["blocks"]["res4.0"]
    assert 0 < row["entropy_relative"]["mean"] <= 1 + 1e-9
    assert row["reach_pixels"]["mean"] > 0
    assert row["reach_seconds"]["mean"] > 0


def test_a_broken_file_is_named_and_the_others_count(folder, tmp_path, capsys):
    broken = folder / "data/train/a/broken.mp4"
    broken.write_bytes(b"no video")
    try:
        code = run(folder, "--data", str(folder / "data"), "--split", "train", "--json", "-")
    finally:
        broken.unlink()
    said = capsys.readouterr()
    assert code == 1
    assert "broken.mp4" in said.err
    assert json.loads(said.out)["videos"] == 2


def test_the_bar_counts_every_video(folder, monkeypatch):
    broken = folder / "data/val/a/broken.mp4"
    broken.write_bytes(b"no video")
    seen = []
    monkeypatch.setattr(
        "videonl.inference.show.StepBar.report", lambda _, *given: seen.append(given)
    )
    try:
        assert run(folder, "--data", str(folder / "data"), "--queries", "2") == 1
    finally:
        broken.unlink()
    assert seen == [("videos", 1, 3), ("videos", 2, 3), ("videos", 3, 3)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "give either a video or --data ROOT"),
        (["a.mp4", "--data", "."], "give either a video or --data ROOT"),
        (["--data", ".", "--at", "1,2,3"], "--at belongs to one video"),
        (["a.mp4", "--json", "x.json"], "--json belongs to --data"),
        (["gone.mp4"], "gone.mp4"),
        (["a.mp4", "--block", "res9"], "the network has res3.0, res4.0"),
    ],
)
def test_bad_usage_is_one_sentence(folder, words, sentence, capsys):
    assert run(folder, *words) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1


def test_a_query_that_is_none(folder, capsys):
    with pytest.raises(SystemExit):
        run(folder, "a.mp4", "--at", "1,2")
    assert "is not T,Y,X" in capsys.readouterr().err
