"""Videos that cannot be read are in the denominator of every figure, in every command."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.checkpoints import write_ckpt
from tests.marks import mostly_slow
from tests.small_data import FLAGS
from tests.videos import write_video
from videonl.cli.main import main
from videonl.training import VideoClassifier, read_metrics

DATA = [*FLAGS, "--data.short_side", "24", "--data.crop", "16"]
CPU = ["--trainer.accelerator", "cpu"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clap: 1 of 3 can be read; jump: 4 of 4; wave: none of 2. The network always says clap."""
    place = tmp_path_factory.mktemp("unread")
    for split in ("train", "val", "test"):
        for name, good, bad in (("clap", 1, 2), ("jump", 4, 0), ("wave", 0, 2)):
            for number in range(good + bad):
                path = place / f"data/{split}/{name}/{number}.mp4"
                if number < good or split == "train":
                    write_video(path, 12)
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text("no video")
    write_ckpt(place / "clap.ckpt", always_clap)
    return place


def always_clap(content: dict[str, Any]) -> None:
    content["state_dict"]["net.head.projection.weight"].zero_()
    content["state_dict"]["net.head.projection.bias"].copy_(torch.tensor([5.0, 0.0, 0.0]))


SHARES = {"top1": 1 / 9, "macro": (1 / 3 + 0 + 0) / 3, "majority": 4 / 9}


@pytest.mark.parametrize(
    ("command", "workers"),
    mostly_slow(
        [(command, workers) for command in ("test", "validate") for workers in "01"],
        quick=[("test", "1"), ("validate", "0")],
    ),
)
def test_result_files(
    command: str, workers: str, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "result.json"
    argv = ["train", command, "--data.root", str(place / "data"), *DATA, *CPU, "--json", str(file)]
    argv += ["--data.num_workers", workers, "--data.batch_size", "6"]
    assert main([*argv, "--checkpoint", str(place / "clap.ckpt")]) == 0
    result = json.loads(file.read_text())
    scores = result["scores"]
    assert scores["video_top1"] == scores["clip_top1"] == pytest.approx(SHARES["top1"])
    assert scores["mean_per_class"] == pytest.approx(SHARES["macro"])
    assert scores["majority_baseline"] == pytest.approx(SHARES["majority"])
    assert (scores["videos"], scores["unread"]) == (9, 4)
    assert result["per_class"] == {"clap": pytest.approx(1 / 3), "jump": 0.0, "wave": 0.0}
    confusion = result["confusion"]
    assert confusion["true_by_predicted"] == [[1, 0, 0], [4, 0, 0], [0, 0, 0]]
    assert confusion["unread"] == [2, 0, 2]
    text = capsys.readouterr().out
    assert "clip@1 11 %   video@1 11 % [2, 43]" in text
    assert "mean per-class accuracy 11 %   most frequent class 44 %" in text
    assert "(of the 5 that were read)" in text
    assert "4 videos cannot be read and count as wrong" in text


def test_a_list_s_missing_files_count_as_well(place: Path, tmp_path: Path, capsys: Capture) -> None:
    lines = ["test/jump/0.mp4 jump", "test/jump/1.mp4 jump", "test/jump/gone.mp4 jump"]
    (tmp_path / "list.txt").write_text("\n".join(["test/clap/0.mp4 clap", *lines]) + "\n")
    (tmp_path / "names.txt").write_text("clap\njump\nwave\n")
    file = tmp_path / "result.json"
    argv = ["train", "test", "--data.root", str(place / "data"), *DATA, *CPU, "--json", str(file)]
    argv += ["--data.test_list", str(tmp_path / "list.txt")]
    argv += ["--data.class_names_file", str(tmp_path / "names.txt")]
    assert main([*argv, "--checkpoint", str(place / "clap.ckpt")]) == 0
    scores = json.loads(file.read_text())["scores"]
    content = json.loads(file.read_text())
    assert content["census"]["videos_per_class"] == {"clap": 1, "jump": 3, "wave": 0}
    assert (scores["videos"], scores["unread"]) == (4, 1)
    assert scores["video_top1"] == pytest.approx(1 / 4)
    assert scores["majority_baseline"] == pytest.approx(3 / 4)
    assert "gone.mp4" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["test", "predict"])
def test_data_that_vanish_are_not_wrong_answers(
    command: str, place: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(place / "data", tmp_path / "data")
    view = VideoClassifier.view_probabilities

    def vanish(self: VideoClassifier, frames: torch.Tensor) -> torch.Tensor:
        if root.is_dir():
            root.rename(tmp_path / "hidden")
        return view(self, frames)

    monkeypatch.setattr(VideoClassifier, "view_probabilities", vanish)
    out = tmp_path / "out"
    argv = ["train", command, "--data.root", str(root), *DATA, *CPU, "--data.batch_size", "1"]
    argv += ["--json" if command == "test" else "--csv", str(out)]
    assert main([*argv, "--checkpoint", str(place / "clap.ckpt")]) == 2
    assert f"the data folder {root} is gone" in capsys.readouterr().err
    assert command == "predict" or not out.exists()


def test_training_and_its_summary(place: Path, tmp_path: Path) -> None:
    argv = ["train", "fit", "--data.root", str(place / "data"), *DATA, *CPU, "--out", str(tmp_path)]
    argv += ["--model.pretrained", str(place / "clap.ckpt"), "--model.options.width", "8"]
    argv += ["--recipe.learning_rate", "0", "--trainer.max_epochs", "1"]
    assert main(argv) == 0
    (run,) = tmp_path.glob("*/*/")
    (row,) = [row for row in read_metrics(run / "metrics.csv") if "val/top1" in row]
    for key, share in SHARES.items():
        assert row[f"val/{key}"] == pytest.approx(share)
    text = (run / "summary.md").read_text()
    for line in (
        "| top-1 | 11 % [2, 43] |",
        "| mean per-class accuracy | 11 % |",
        "| baseline: always the most frequent class | 44 % |",
        "4 of 9 videos could not be read: they count as wrong in every score",
        "| class | videos | unread | accuracy | most often taken for |",
        "| clap | 3 | 2 | 33 % [6, 79] |  |",
        "| jump | 4 |  | 0 % [0, 49] | clap (4) |",
        "| wave | 2 | 2 | 0 % [0, 66] |  |",
    ):
        assert line in text
    assert (run / "confusion.png").is_file()


def test_comparing(place: Path, tmp_path: Path, capsys: Capture) -> None:
    argv = ["compare", str(place / "clap.ckpt"), "--data", str(place / "data"), "--no-speed"]
    assert main([*argv, "--views", "1x1", "--device", "cpu", "--out", str(tmp_path)]) == 0
    (row,) = json.loads((tmp_path / "compare.json").read_text())["rows"]
    assert (row["top1"]["correct"], row["top1"]["total"]) == (1, 9)
    assert row["confusion"] == [[1, 0, 0], [4, 0, 0], [0, 0, 0]]
    assert row["unread"] == [2, 0, 2]
    assert "4 cannot be read and count as wrong" in capsys.readouterr().out
    page = (tmp_path / "compare.html").read_text()
    matrix = re.search(r'<table class="matrix[^>]*>.*?</table>', page, re.DOTALL)
    assert matrix is not None
    assert "<span>(unread)</span></th>" in matrix[0]
    assert [int(n) for n in re.findall(r">(\d+)</td>", matrix[0])] == [
        1,
        0,
        0,
        2,
        4,
        0,
        0,
        0,
        0,
        0,
        0,
        2,
    ]


def test_nothing_can_be_read(place: Path, tmp_path: Path, capsys: Capture) -> None:
    for name in ("clap", "jump"):
        path = tmp_path / "data/test" / name / "0.mp4"
        path.parent.mkdir(parents=True)
        path.write_text("no video")
    file = tmp_path / "result.json"
    argv = ["train", "test", "--data.root", str(tmp_path / "data"), *DATA, *CPU]
    argv += ["--json", str(file), "--checkpoint", str(place / "clap.ckpt")]
    assert main(argv) == 0
    scores = json.loads(file.read_text(), parse_constant=pytest.fail)["scores"]
    assert (scores["loss"], scores["video_top1"], scores["mean_per_class"]) == (None, 0.0, 0.0)
    assert scores["majority_baseline"] == 0.5
    assert "no loss: no video could be read" in capsys.readouterr().out
