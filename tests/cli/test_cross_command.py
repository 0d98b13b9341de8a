"""``videonl cross``: folds by groups or official splits, trained, tested and summed up."""

import json
from pathlib import Path

import pytest

from tests.small_data import FLAGS, write_small_data
from videonl.cli.main import main
from videonl.errors import VideoNLError, going_on

Capture = pytest.CaptureFixture[str]

SMALL = [
    *("--model.name", "tiny_i3d_nl1", "--model.options.width", "8"),
    *("--recipe.optimizer", "adamw", "--recipe.reference_batch", "2"),
    *("--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"),
    *("--trainer.enable_progress_bar", "false", *FLAGS),
]


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("cross"), train=4, val=0) / "train"


@pytest.mark.slow
def test_folds(classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["cross", str(classes), "--folds", "2", "--out", str(out), *SMALL]
    words += ["--data.group", r"(\d)\.mp4"]
    assert main(words) == 0
    told = capsys.readouterr().out
    summary = json.loads((out / "cross.json").read_text())
    scores = [part["scores"]["video_top1"] for part in summary["parts"]]
    assert summary["mean"]["video_top1"] == pytest.approx(sum(scores) / 2)
    assert "mean" in told.splitlines()[-2]
    held = [(out / f"fold-{n}/val.csv").read_text().splitlines()[1:] for n in (1, 2)]
    groups = [{line.split(",")[0].split("/")[1] for line in lines} for lines in held]
    assert not groups[0] & groups[1]
    assert sum(map(len, held)) == 8
    assert main(words) == 0
    assert capsys.readouterr().out.count("already done") == 2
    assert main([*words, "--seed", "1"]) == 2
    assert "parts of another run (other: --seed)" in capsys.readouterr().err
    # The same runs, moved: what each was trained on is known to it.
    runs = []
    for n in (1, 2):
        run = next((out / f"fold-{n}/run").glob("*"))
        (run / "train.csv").unlink(missing_ok=True)
        runs.append(str(run.rename(tmp_path / f"moved-{n}")))
    elsewhere = str(tmp_path / "sum")
    given = ["cross", str(classes), "--runs", *runs, "--out", elsewhere]
    assert main([*given, "--trainer.accelerator", "cpu"]) == 0
    assert "4 of 8 videos left out" in capsys.readouterr().out
    again = json.loads((tmp_path / "sum/cross.json").read_text())
    assert again["mean"]["video_top1"] == summary["mean"]["video_top1"]


@pytest.mark.slow
def test_official_splits(classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "hmdb"
    for name in ("dark", "light"):
        (root / name).mkdir(parents=True)
        for n in range(4):
            (root / name / f"{n}.mp4").write_bytes((classes / name / f"{n}.mp4").read_bytes())
        for split in (1, 2, 3):
            lines = [f"{n}.mp4 {2 if n == split else 1}\n" for n in range(4)]
            (root / f"{name}_test_split{split}.txt").write_text("".join(lines))
    out = tmp_path / "out"
    assert main(["cross", str(root), "--folds", "official", "--out", str(out), *SMALL]) == 0
    summary = json.loads((out / "cross.json").read_text())
    assert [part["part"] for part in summary["parts"]] == ["split-1", "split-2", "split-3"]
    assert "split-3" in capsys.readouterr().out


def test_folds_of_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Numbers from 1 are read as the options say; a video that is not there is in some fold."""
    lines = [f"{number}/{n}.mp4 {number}\n" for number in (1, 2) for n in range(3)]
    (tmp_path / "train.txt").write_text("".join(lines))
    for line in lines[1:]:
        file = tmp_path / line.split()[0]
        file.parent.mkdir(exist_ok=True)
        file.touch()
    monkeypatch.setattr("videonl.cli.cross.one", lambda *_, **__: 7)  # no training
    out = tmp_path / "out"
    words = ["cross", str(tmp_path), "--folds", "3", "--out", str(out), "--data.first_label", "1"]
    assert main(words) == 7
    held = [line for n in (1, 2, 3) for line in (out / f"fold-{n}/val.csv").read_text().split()[1:]]
    assert sorted(line.split(",")[0] for line in held) == [line.split()[0] for line in lines]
    assert "in none" not in capsys.readouterr().err
    (tmp_path / "test.txt").write_text("1/x.mp4 1\n")
    (tmp_path / "1/x.mp4").touch()
    assert main(words) == 7
    told = "the folds are of train and val; in none: 1 test video"
    assert told in capsys.readouterr().err


def test_what_a_training_and_its_test_are_told(
    classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    calls = []

    def train(argv: list[str]) -> int:
        calls.append(argv)
        last = tmp_path / "fold-1/run/then/last.ckpt"
        if argv[0] == "test":
            raise VideoNLError(f"the disk is full; {going_on(last)}")
        last.parent.mkdir(parents=True)
        last.touch()
        return 0

    monkeypatch.setattr("videonl.cli.train.main", train)
    words = ["cross", str(classes), "--folds", "2", "--out", str(tmp_path)]
    assert main([*words, "--model.name", "my_nets:net"]) == 2
    told = "the disk is full; run the same command again to continue\n"  # cross has no --resume
    assert capsys.readouterr().err.endswith(told)
    assert calls[1][calls[1].index("--model.name") + 1] == "my_nets:net"


def test_a_damaged_official_list_is_no_absent_split(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a").mkdir()
    for split, name, text in ((1, "x", "x.avi 1\ny.avi 2\n"), (2, "y", "x.avi 7\n")):
        (tmp_path / f"a_test_split{split}.txt").write_text(text)
        (tmp_path / f"a/{name}.avi").touch()
    assert main(["cross", str(tmp_path), "--folds", "official", "--out", str(tmp_path / "o")]) == 2
    assert "a_test_split2.txt, line 1: 'x.avi 7' is not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--folds", "99"], "has 8 groups of videos (single files"),
        (["--folds", "2", "--data.group", r"(dark|light)"], "lies in one group only"),
        ([], "give exactly one of --folds K, --folds official and --runs"),
        (["--folds", "2", "--runs", "a"], "give exactly one of"),
        (["--runs", "nowhere"], "nowhere: not the folder of a run"),
        (["--folds", "\u00b2"], "it must be a number, or official"),
        (["--folds", "official"], "contains no official lists"),
        pytest.param(
            ["--folds", "2", "--trainer.max_epochs", "0"],
            "the training left no last.ckpt",
            marks=pytest.mark.slow,
        ),
        (["--folds", "2", "--data.val_list", "a.txt"], "set by videonl cross"),
        (["--folds", "2"], "parts of another run (other: --folds, --data.x, videos"),
        (  # a value that is longer than the name of any file
            ["--folds", "2", "--data.flip_exceptions", f"[{'x' * 300}]"],
            "parts of another run",
        ),
    ],
)
def test_refusals(
    words: list[str],
    sentence: str,
    classes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "out").mkdir()
    if "another run" in sentence:
        before = {"folder": str(classes), "--folds": "9", "--seed": 0, "--data.x": " 1"}
        (tmp_path / "out/settings.json").write_text(json.dumps(before), encoding="utf-8")
    assert main(["cross", str(classes), "--out", str(tmp_path / "out"), *SMALL, *words]) == 2
    assert sentence in capsys.readouterr().err
