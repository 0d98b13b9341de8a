"""``videonl push --dry-run``: what is pushed, and the card that is written from a run."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.checkpoints import write_ckpt
from videonl.cli.main import main
from videonl.weights import load_checkpoint

PERSON = "/home/somebody/secret"
BEST = {
    "epoch": 1,
    "views": "1x1 of 4x32²",
    "videos": 40,
    "unread": 0,
    "loss": 0.5,
    "top1": 0.75,
    "top5": 1.0,
    "macro": 0.7,
    "majority": 0.5,
    "per_class": [1.0, 0.5, 0.6],
}
RESULT: dict[str, Any] = {
    "protocol": {"split": "test", "views": "2x3"},
    "scores": {"video_top1": 0.625, "majority_baseline": 0.5, "videos": 24},
    "own_protocol": [
        {"protocol": {"split": "test", "views": "1x1"}, "scores": {"video_top1": 0.5, "videos": 24}}
    ],
    "data": f"{PERSON}/gestures",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run, as ``fit`` and ``test`` leave it."""
    folder = tmp_path / "runs" / "x" / "2026-01-01"

    def change(content: dict[str, Any]) -> None:
        about = content["hyper_parameters"]
        about |= {"provenance": f"{PERSON}/start.pth", "licence": "CC BY-NC 4.0"}
        about["class_names"] = ["wave", "<script>|*x*", "clap"]
        content["callbacks"] = {"Summary": {"best": BEST}}

    write_ckpt(folder / "best.ckpt", change)
    write_ckpt(folder / "last.ckpt", lambda content: content.update(epoch=4))
    recipe = {"optimizer": "sgd", "momentum": 0.9, "beta2": 0.999}
    settings = {"data": {"root": f"{PERSON}/gestures"}, "recipe": recipe, "seed": 3}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    classes = {f"class {number}": {"found": 1} for number in range(3000)}  # as of a large data set
    census = {"train": {"found": 90, "unreadable": 2, "classes": classes}}
    (folder / "census.json").write_text(json.dumps(census))
    (folder / "best_test_2x3.json").write_text(json.dumps(RESULT))
    return folder


def push(run: Path, folder: Path, *more: str, code: int = 0) -> None:
    words = ["push", str(run), "lab/gestures", "--dry-run", str(folder), *more]
    assert main(words) == code


def test_a_card_says_what_the_run_says(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(run, tmp_path / "look")
    assert "nothing was uploaded" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "look").iterdir()} == {
        "README.md",
        "model.json",
        "model.safetensors",
    }
    _, front, text = (tmp_path / "look" / "README.md").read_text("utf-8").split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["license"] == "cc-by-nc-4.0"
    assert about["pipeline_tag"] == "video-classification"
    (result,) = about["model-index"][0]["results"]
    assert result["dataset"] == {"name": "gestures", "type": "gestures", "split": "test"}
    assert result["metrics"][0]["value"] == 0.625
    for words in (
        "# tiny_i3d_nl1 on gestures",
        "--checkpoint hf:lab/gestures",
        "| train | 90 | 2 |",
        "Started from start.pth (licence of those weights: CC BY-NC 4.0)",
        "optimizer sgd, momentum 0.9, seed 3",
        r"&lt;script>\|\*x\*",
        "| test, 24 | 2x3 | top-1 | 62 % [43, 79] |",
        "| test, 24 | 1x1 | top-1 | 50 % [31, 69] |",
        "| val in training, 40 | 1x1 of 4x32² | top-1 | 75 % [60, 86] |",
        "the best of 5 epochs on the same 40 videos, which is optimistic",
        "GMACs",
        "It was tested on 24 videos.",
        "The weights: CC BY-NC 4.0.",
    ):
        assert words in text, words
    for file in ("README.md", "model.json"):
        assert PERSON not in (tmp_path / "look" / file).read_text("utf-8")
    # A folder of this form, such as a clone, is a checkpoint itself.
    loaded = load_checkpoint(tmp_path / "look")
    assert loaded.class_names == ["wave", "<script>|*x*", "clap"]
    assert loaded.provenance["licence"] == "CC BY-NC 4.0"


def test_what_is_not_known_is_not_claimed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_ckpt(tmp_path / "a.ckpt")
    push(checkpoint, tmp_path / "look")
    said = capsys.readouterr().err
    assert "states no licence: give one" in said
    assert "has no test result" in said
    card = (tmp_path / "look" / "README.md").read_text("utf-8")
    assert "license:" not in card
    assert "model-index" not in card
    assert "Not measured" in card
    assert "Not stated: ask the owner" in card
    push(checkpoint, tmp_path / "named", "--licence", "Our Own 1.0", "--private")
    card = (tmp_path / "named" / "README.md").read_text("utf-8")
    assert "license: other\nlicense_name: Our Own 1.0\n" in card
    push(checkpoint, tmp_path / "near", "--licence", "MIT-0")  # is not the licence MIT
    assert "license_name: MIT-0\n" in (tmp_path / "near" / "README.md").read_text("utf-8")


def test_results_are_those_of_these_weights(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run / "best_test_2x3.json"
    os.utime(result, (1, 1))  # a test of weights that were there before
    push(run, tmp_path / "old")
    assert "62 %" not in (tmp_path / "old" / "README.md").read_text("utf-8")
    several = {
        "protocol": {"split": "val", "views": "1x1"},
        "scores": {"video_map": 0.4, "hit1": 0.5, "videos": 24},
    }
    result.write_text(json.dumps(several))
    push(run, tmp_path / "several")
    card = (tmp_path / "several" / "README.md").read_text("utf-8")
    assert "| val, 24 | 1x1 | mean average precision | 40 % |" in card
    assert "It has not been tested on videos that were not used in its training." in card
    capsys.readouterr()
    for text in ("{", "[]", '{"scores": {}}', '{"protocol": 1, "scores": {"videos": "x"}}'):
        result.write_text(text)
        push(run, tmp_path / "broken", code=2)
        assert f"{result} is not a result of test" in capsys.readouterr().err
        assert not (tmp_path / "broken").exists()


def test_refused_before_anything_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    push(run, tmp_path / "full", code=2)
    assert "is not an empty folder" in capsys.readouterr().err
    for name in ("lab", "lab/a/b", "la b/x", "lab/x@v1", "hf:lab"):
        with pytest.raises(SystemExit, match="2"):
            main(["push", str(run), name, "--dry-run", str(tmp_path / "new")])
        assert "is not the name of a repository" in capsys.readouterr().err
    push(tmp_path / "none.ckpt", tmp_path / "new", code=2)
    assert "neither a file nor the name" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
