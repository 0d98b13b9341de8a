"""fit, test, validate, compare and infer: one protocol, so one figure for the same videos."""

import json
import re
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import torch

from tests.marks import mostly_slow
from tests.small_data import FLAGS, write_small_data
from videonl import Predictor
from videonl.cli.main import main
from videonl.video import Preprocessing
from videonl.weights import load_checkpoint

CPU = ["--trainer.accelerator", "cpu"]
Shown = pytest.CaptureFixture[str]


def flags_of_fit() -> list[str]:
    """Those of the small data, without a word on the views of a test."""
    place = FLAGS.index("--data.views")
    return FLAGS[:place] + FLAGS[place + 2 :]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video of val/ stands among the others: 6 of 7 at most are right."""
    root = write_small_data(tmp_path_factory.mktemp("data"), train=3, val=3)
    copyfile(root / "val" / "dark" / "0.mp4", root / "val" / "light" / "odd.mp4")
    return root


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that samples by time and validates by 2 clips of 3 crops: nothing is as by default."""
    out = tmp_path_factory.mktemp("runs")
    words = ["train", "fit", "--model.name", "tiny_i3d", "--model.options.width", "8"]
    words += ["--data.root", str(root), *flags_of_fit(), "--out", str(out), "--name", "x", *CPU]
    words += ["--data.val_views", "2x3", "--data.fps", "12.5", "--data.short_video", "pad"]
    words += ["--data.stride", "1"]
    assert main([*words, "--trainer.max_epochs", "2", "--recipe.learning_rate", "0.0001"]) == 0
    return next((out / "x").iterdir())


def best_of(run: Path) -> dict[str, Any]:
    """What the training itself measured for its best checkpoint."""
    content = torch.load(run / "best.ckpt", weights_only=True)
    (found,) = [v["best"] for k, v in content["callbacks"].items() if k.startswith("Summary")]
    return found


def measured(command: str, run: Path, root: Path, file: Path, *more: str) -> dict[str, Any]:
    words = ["train", command, "--checkpoint", str(run), "--data.root", str(root), *CPU]
    words += ["--split", "val", "--data.num_workers", "0", "--json", str(file), *more]
    assert main(words) == 0
    return json.loads(file.read_text(encoding="utf-8"))


def test_the_checkpoint_holds_the_protocol_of_its_validation(run: Path) -> None:
    shown = Preprocessing.from_dict(load_checkpoint(run / "best.ckpt").preprocessing)
    assert (shown.views, shown.view_shape) == ((2, 3), (4, 32, 32))
    assert (shown.fps, shown.short_video, shown.short_side) == (12.5, "pad", 36)
    assert "2x3 of 4x32²" in (run / "summary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", mostly_slow(["test", "validate"], quick=["test"]))
def test_one_figure(command: str, run: Path, root: Path, tmp_path: Path) -> None:
    best, content = best_of(run), measured(command, run, root, tmp_path / "test.json")
    assert content["scores"]["video_top1"] == best["top1"]
    assert content["scores"]["loss"] == best["loss"], command
    assert content["protocol"]["views"] == "2x3"
    assert content["own_protocol"] == []


def test_the_same_figure_of_compare_and_infer(
    run: Path, root: Path, tmp_path: Path, capsys: Shown
) -> None:
    best = best_of(run)
    words = ["--data", str(root), "--split", "val", "--no-speed", "--out", str(tmp_path / "table")]
    assert main(["compare", str(run / "best.ckpt"), *words]) == 0
    (row,) = json.loads((tmp_path / "table" / "compare.json").read_text("utf-8"))["rows"]
    assert (row["top1"]["value"], row["views"]) == (best["top1"], [2, 3])
    assert (row["input"], row["own"]) == ("4x32x32", None)

    file = tmp_path / "infer.json"
    capsys.readouterr()
    assert main(["predict", str(root / "val"), "--checkpoint", str(run), "--json", str(file)]) == 0
    assert "as asked" not in capsys.readouterr().err
    content = json.loads(file.read_text(encoding="utf-8"))
    assert (content["protocol"]["views"], content["protocol"]["view_side"]) == ("2x3", 32)
    answers = [
        entry["classes"][0]["class"] == Path(entry["path"]).parent.name
        for entry in content["predictions"]
    ]
    assert sum(answers) / len(answers) == best["top1"]


def test_another_protocol_gives_both_figures(
    run: Path, root: Path, tmp_path: Path, capsys: Shown
) -> None:
    best = best_of(run)
    content = measured("test", run, root, tmp_path / "t.json", "--data.views", "4x3")
    shown = capsys.readouterr().out
    assert content["protocol"]["views"] == "4x3"
    (own,) = content["own_protocol"]
    assert own["protocol"]["views"] == "2x3"
    assert own["scores"]["loss"] == best["loss"] != content["scores"]["loss"]
    assert "by the network's own protocol, 2x3 of 4x32²" in shown
    assert len(re.findall("video@1", shown)) == 2
    assert content["cost"]["views"] == 12

    words = ["--data", str(root), "--split", "val", "--no-speed", "--views", "3x3"]
    assert main(["compare", f"one={run}", *words]) == 0
    shown = capsys.readouterr().out
    assert f"one with its own views, 2x3 of 4x32²: top-1 {100 * best['top1']:.0f} %" in shown


@pytest.mark.slow
def test_one_view_is_no_second_figure(run: Path, root: Path, tmp_path: Path, capsys: Shown) -> None:
    content = measured("validate", run, root, tmp_path / "v.json", "--data.val_views", "1x1")
    assert content["own_protocol"] == []  # one view was asked for, not seven
    shown = capsys.readouterr().out
    assert "leave out --data.val_views for the network's own protocol, 2x3 of 4x32²" in shown

    words = ["--data", str(root), "--split", "val", "--no-speed", "--views", "1x1"]
    assert main(["compare", f"one={run}", *words]) == 0
    assert "one: leave out --views for its own views, 2x3 of 4x32²" in capsys.readouterr().out

    video = str(root / "val" / "dark" / "0.mp4")
    assert main(["predict", video, "--checkpoint", str(run), "--views", "1x1"]) == 0
    said = capsys.readouterr().err
    assert "1x1 of 4x32², as asked; the network's accuracy was measured with 2x3" in said


def test_sizes_that_are_asked_for(run: Path, root: Path, tmp_path: Path) -> None:
    """A crop that is asked for is that of three crops too; the short side only where it is said."""
    shown = measured("test", run, root, tmp_path / "a.json", "--data.crop", "24")["protocol"]
    assert (shown["view_side"], shown["short_side"], shown["fps"]) == (24, 27, 12.5)
    more = ["--data.test_crop", "short_side"]
    content = measured("test", run, root, tmp_path / "b.json", *more)
    assert content["protocol"]["view_side"] == 36
    assert content["cost"]["clip_shape"] == [3, 4, 36, 36]
    options = {"test_crop": 36, "views": [1, 3]}
    predictor = Predictor.from_checkpoint(run, device="cpu", options=options)
    assert predictor.preprocessing.shown_views == "1x3 of 4x36²"


def test_an_option_that_no_clip_can_have(run: Path, root: Path, capsys: Shown) -> None:
    words = ["predict", str(root / "val"), "--checkpoint", str(run), "--option", "test_crop=99"]
    assert main(words) == 2
    assert "--option: test_crop=99 is larger than short_side=36" in capsys.readouterr().err


def test_files_of_before_keep_ten_clips_and_three_crops(root: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "old.ckpt"
    words = ["train", "fit", "--model.name", "tiny_c2d", "--model.options.width", "8"]
    words += ["--data.root", str(root), *flags_of_fit(), "--out", str(tmp_path), *CPU]
    assert main([*words, "--name", "x", "--trainer.max_epochs", "1"]) == 0
    content = torch.load(next((tmp_path / "x").iterdir()) / "last.ckpt", weights_only=True)
    shown = content["hyper_parameters"]["preprocessing"]
    assert (shown.pop("views"), shown.pop("test_crop")) == ([1, 1], 32)
    torch.save(content, checkpoint)
    predictor = Predictor.from_checkpoint(checkpoint, device="cpu")
    assert predictor.preprocessing.shown_views == "10x3 of 4x36²"
