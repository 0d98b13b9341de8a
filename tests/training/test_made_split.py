"""A folder of classes without a split trains: one is made, kept in the run, and never leaks."""

import json
from pathlib import Path

import pytest
import yaml

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.data import VideoDataModule, read_catalogue, write_lists
from videonl.errors import DatasetError

SMALL = [
    *("--model.name", "tiny_i3d_nl1", "--model.options.width", "8"),
    *("--recipe.optimizer", "adamw", "--recipe.reference_batch", "2"),
    *("--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"),
    *("--trainer.enable_progress_bar", "false"),
]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def split(root: Path, **options: object) -> tuple[set[str], set[str], list[str]]:
    data = VideoDataModule(str(root), **options)  # type: ignore[arg-type]
    data.setup("fit")
    train, val = ({Path(r.path).name for r in data.records[s]} for s in ("train", "val"))
    assert not train & val
    return train, val, data.catalogue.notes


def test_a_fifth_of_every_class(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{name}{n}.mp4" for name in "ab" for n in range(10)))
    train, val, notes = split(tmp_path)
    assert (len(train), sum(n[0] == "a" for n in val), sum(n[0] == "b" for n in val)) == (16, 2, 2)
    assert "4 of 20 videos are kept for val, by single files (--data.group" in notes[0]
    assert split(tmp_path)[1] == val
    assert split(tmp_path, seed=1)[1] != val
    assert len(split(tmp_path, val_share=0.5)[1]) == 10
    assert len(split(tmp_path, val_share=0.99)[0]) == 2  # no class is emptied
    with pytest.raises(DatasetError, match=r"val_share=0 must lie.*--data.val none"):
        split(tmp_path, val_share=0)


def test_files_that_belong_together(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "ucf",
        *(
            f"{c}/v_{c}_g0{g}_c0{n}.avi"
            for c in ("Run", "Walk")
            for g in range(1, 6)
            for n in (1, 2)
        ),
    )
    train, val, notes = split(root)
    assert "g01 in _g01_c01" in notes[0]
    assert len(val) == 4
    assert not {name[:-8] for name in train} & {name[:-8] for name in val}
    root = touch(
        tmp_path / "own", *(f"{c}/{c}{p}-{n}.mp4" for c in "ab" for p in range(5) for n in range(3))
    )
    train, val, notes = split(root, group=r"/.(\d)-")  # a person in both classes
    assert not {name[1] for name in train} & {name[1] for name in val}
    assert len(val) == 6
    with pytest.raises(DatasetError, match=r"--data.group x\(: not a regular expression"):
        split(root, group="x(")
    with pytest.raises(DatasetError, match=r"matches nothing in a/a0-0.mp4"):
        split(root, group="zzz")
    with pytest.raises(DatasetError, match=r"more than one group.*--data.val none"):
        split(root, group="(.)mp4")
    root = touch(
        tmp_path / "deep",
        *(f"{c}/day{d}/{c}{d}{n}.mp4" for c in "ab" for d in range(5) for n in range(2)),
    )
    train, val, notes = split(root)
    assert not {name[:2] for name in train} & {name[:2] for name in val}
    assert any("20 videos lie in folders below" in note for note in notes)


def test_thin_classes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"a/{n}.mp4" for n in range(5)), "b/9.mp4", "b/x.jpg", "b/y.JPG")
    _, val, notes = split(tmp_path)
    assert "9.mp4" not in val
    assert "2 other files left out: .jpg (2)" in notes[0]
    assert "without a video in val: 1 class with one group only: b" in notes[-1]
    with pytest.raises(DatasetError, match=r"only one class .a., so"):
        split(touch(tmp_path / "one", "a/1.mp4", "a/2.mp4"))


def test_names_survive_the_lists(tmp_path: Path) -> None:
    """Classes of digits, with signs, and file names that a csv has to quote."""
    root = touch(
        tmp_path / "data",
        *(f'{c}/{c} "{n}", #.mp4' for c in ("7", "a;b", "C++", "C") for n in range(3)),
    )
    data = VideoDataModule(str(root))
    data.setup("fit")
    write_lists(tmp_path, [("t.csv", data.records["train"])], data.class_names, root=str(root))
    again = read_catalogue(
        root, lists={"train": str(tmp_path / "t.csv")}, class_names=str(tmp_path / "classes.txt")
    )
    assert again.class_names == data.class_names
    assert again.records["train"] == data.records["train"]


def test_fit_resume_and_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_small_data(tmp_path / "made", train=5, val=0) / "train"
    words = ["--data.root", str(root), *FLAGS]
    assert main(["train", "fit", *words, "--out", str(tmp_path / "runs"), *SMALL]) == 0
    told = capsys.readouterr().out
    assert "2 of 10 videos are kept for val" in told
    assert "looked at headers of all 10 videos" in told
    assert "class (quartiles)" in told
    assert "clip      a clip of 4 frames, 2 apart (0.28 s), covers 58.3 % of a video" in told
    assert "shortcut  size, rate, length, codec and file size alone predict" in told
    run = next((tmp_path / "runs").glob("*/*"))
    config = yaml.safe_load((run / "config.yaml").read_text())["data"]
    assert config["val_list"] == str(run / "val.csv")
    held = (run / "val.csv").read_text()
    assert len(held.splitlines()) == 3
    (root / "dark/new.mp4").write_bytes((root / "dark/0.mp4").read_bytes())
    assert main(["train", "fit", "--resume", str(run), "--trainer.max_epochs", "2"]) == 0
    assert "8 in train, 2 in val" in capsys.readouterr().out
    assert (run / "val.csv").read_text() == held
    assert (
        main(["train", "test", "--checkpoint", str(run), *words, "--trainer.accelerator", "cpu"])
        == 0
    )
    assert "val: 2 videos" in capsys.readouterr().out


def test_without_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_small_data(tmp_path / "made", train=2, val=0) / "train"
    words = ["--data.root", str(root), "--data.val", "none", *FLAGS]
    assert main(["train", "fit", *words, "--out", str(tmp_path / "runs"), *SMALL]) == 0
    told = capsys.readouterr().out
    run = next((tmp_path / "runs").glob("*/*"))
    assert "4 in train (" in told
    assert "without validation there is no best checkpoint" in told
    assert (run / "last.ckpt").is_file()
    assert not (run / "best.ckpt").exists()
    assert not (run / "val.csv").exists()


def test_a_moved_checkpoint_knows_its_training_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_small_data(tmp_path / "made", train=5, val=0) / "train"
    words = ["--data.root", str(root), *FLAGS]
    assert main(["train", "fit", *words, "--out", str(tmp_path / "runs"), *SMALL]) == 0
    moved = tmp_path / "moved.ckpt"
    next((tmp_path / "runs").glob("*/*/best.ckpt")).rename(moved)
    again = root.rename(tmp_path / "elsewhere")
    words[1] = str(again)
    test = ["train", "test", "--checkpoint", str(moved), *words, "--trainer.accelerator", "cpu"]
    test += ["--json", str(tmp_path / "result.json")]
    capsys.readouterr()
    assert main(test) == 0
    told = capsys.readouterr().out
    assert "8 of 10 videos left out" in told
    result = json.loads((tmp_path / "result.json").read_text())
    assert sum(result["census"]["videos_per_class"].values()) == result["scores"]["videos"] == 2
    assert "test: 2 videos" in told
    compare = ["compare", str(moved), "--data", str(again), "--device", "cpu", "--no-speed"]
    assert main(compare) == 0
    told = capsys.readouterr().out
    assert "8 of 10 videos left out" in told
    assert "Accuracy: 2 videos" in told
    assert "Shortcut: the shortcut is not measured" in told or "Shortcut: size, rate" in told


@pytest.mark.slow
def test_a_network_is_not_tested_on_the_videos_of_its_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_small_data(tmp_path / "made", train=5, val=0) / "train"
    words = ["--data.root", str(root), *FLAGS]
    all_of_it = ["--data.val", "none", "--out", str(tmp_path / "all"), *SMALL]
    assert main(["train", "fit", *words, *all_of_it]) == 0
    run = str(next((tmp_path / "all").glob("*/*")))
    capsys.readouterr()
    assert main(["train", "test", "--checkpoint", run, *words]) == 2
    assert "was trained on all of the 10 videos" in capsys.readouterr().err
    assert main(["compare", run, "--data", str(root), "--device", "cpu", "--no-speed"]) == 1
    assert "was trained on all of the 10 videos" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "sentence"),
    [
        ("--data.val_share", "0", "--data.val none trains without one"),
        ("--data.group", "x(", "not a regular expression"),
    ],
)
def test_a_choice_that_makes_no_split(
    flag: str, value: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_small_data(tmp_path / "split", train=1, val=1)  # has a split: refused all the same
    words = ["--data.root", str(root), *FLAGS, "--out", str(tmp_path / "runs"), *SMALL]
    assert main(["train", "fit", *words, flag, value]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
