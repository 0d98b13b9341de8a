"""Official lists, in the formats their authors hand out, from files to a test result."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.small_data import FLAGS
from tests.videos import write_video
from videonl.cli.main import main
from videonl.data import VideoDataModule, read_catalogue
from videonl.errors import DatasetError

SMALL = [
    *("--model.name", "tiny_i3d_nl1", "--model.options.width", "8"),
    *("--recipe.optimizer", "adamw", "--recipe.reference_batch", "2"),
    *("--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"),
    *("--trainer.enable_progress_bar", "false"),
]


def video(path: Path, *, light: bool) -> None:
    noise = np.random.default_rng(0).normal(180 if light else 70, 30, (8, 40, 48, 3))
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(path.suffix, "libx264")
    write_video(path, np.clip(noise, 0, 255).astype(np.uint8), codec=codec)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))


def ucf(root: Path) -> None:
    write(root / "ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup\r\n2 BandMarching\r\n")
    for number in (1, 2, 3):
        parts: dict[str, list[str]] = {"train": [], "test": []}
        for place, name in enumerate(("ApplyEyeMakeup", "BandMarching")):
            for group in (1, 2, 3):
                file = f"{name}/v_{name}_g0{group}_c01.avi"
                parts["test" if group == number else "train"].append(
                    file + ("" if group == number else f" {place + 1}")
                )
                if number == 1:
                    video(root / "UCF-101" / file, light=bool(place))
        for part, lines in parts.items():
            text = "\r\n".join([*lines, ""])
            write(root / f"ucfTrainTestlist/{part}list0{number}.txt", text)


def hmdb(root: Path) -> None:
    for place, name in enumerate(("brush_hair", "cartwheel")):
        files = [f"#{name}_{n}_f_cm_np1_ba_med_0.avi" for n in range(4)]
        for file in files:
            video(root / name / file, light=bool(place))
        for number in (1, 2, 3):
            marks = [1 if n == 3 else 2 if n == number - 1 else 1 for n in range(3)] + [0]
            lines = [f"{file} {mark} \n" for file, mark in zip(files, marks, strict=True)]
            folder = root / "testTrainMulti_7030_splits"
            write(folder / f"{name}_test_split{number}.txt", "".join(lines))


TEMPLATES = ("Moving [something] left", "Moving [something] right")


def something2(root: Path) -> None:
    for place in range(2):
        for number in range(4):
            video(root / f"20bn-something-something-v2/{place}{number}.webm", light=bool(place))
    labels = {t.replace("[", "").replace("]", ""): str(i) for i, t in enumerate(TEMPLATES)}
    write(root / "labels/labels.json", "\ufeff" + json.dumps(labels))

    def items(numbers: range, *, told: bool) -> str:
        about = [
            {"id": f"{place}{n}", "label": "moving a cup", "template": TEMPLATES[place]}
            for place in range(2)
            for n in numbers
        ]
        return json.dumps(about if told else [{"id": item["id"]} for item in about], indent=1)

    write(root / "labels/train.json", items(range(2), told=True))
    write(root / "labels/validation.json", items(range(2, 3), told=True))
    write(root / "labels/test.json", items(range(3, 4), told=False))
    write(root / "labels/test-answers.csv", "03;Moving something left\n13;Moving something right\n")


def something1(root: Path) -> None:
    for place in range(2):
        for number in range(3):
            video(root / f"videos/{place}{number}.mp4", light=bool(place))
    names = [t.replace("[", "").replace("]", "") for t in TEMPLATES]
    prefix = "something-something-v1-"
    write(root / f"{prefix}labels.csv", "".join(f"{name}\r\n" for name in reversed(names)))
    for part, numbers in (("train", range(2)), ("validation", range(2, 3))):
        lines = [f"{place}{n};{names[place]}\r\n" for place in range(2) for n in numbers]
        write(root / f"{prefix}{part}.csv", "\ufeff" + "".join(lines))
    write(root / f"{prefix}test.csv", "02\r\n12\r\n")


def charades(root: Path) -> None:
    write(root / "Charades/Charades_v1_classes.txt", "c000 Holding clothes\nc001 Opening a door\n")
    header = "id,subject,script,actions,length\n"
    actions = ("c000 0.00 0.20", "c001 0.00 9.00;c000 0.10 0.30", "")
    rows: dict[str, str] = {"train": header, "test": header}
    for number in range(6):
        name = f"AB{number}CD"
        video(root / f"Charades_v1_480/{name}.mp4", light=number % 2 == 1)
        part = "train" if number < 4 else "test"
        rows[part] += f'{name},S1,"a script, with\ntwo lines",{actions[number % 3]},8.0\n'
    for part, text in rows.items():
        write(root / f"Charades/Charades_v1_{part}.csv", text)


def kinetics(root: Path) -> None:
    for part, number in (("train", 2), ("val", 1), ("test", 1)):
        lines = ["label,youtube_id,time_start,time_end,split"]
        for place, name in enumerate(("abseiling", "yoga")):
            for n in range(number):
                stem = f"-{part}_{place}{n}abcd"[:11]
                video(root / part / f"{stem}_000001_000011.mp4", light=bool(place))
                lines.append(f"{name},{stem},1,11,{part}")
        write(root / f"{part}.csv", "\ufeff" + "\r\n".join(lines))


@dataclass(frozen=True)
class Case:
    make: Callable[[Path], None]
    title: str | None
    classes: list[str]
    counts: dict[str, int]


CASES = {
    "ucf": Case(
        ucf,
        "UCF-101 split 1",
        ["ApplyEyeMakeup", "BandMarching"],
        {"train": 4, "val": 2, "test": 2},
    ),
    "hmdb": Case(
        hmdb, "HMDB-51 split 1", ["brush_hair", "cartwheel"], {"train": 4, "val": 2, "test": 2}
    ),
    "something2": Case(
        something2,
        "Something-Something v2",
        ["Moving something left", "Moving something right"],
        {"train": 4, "val": 2, "test": 2},
    ),
    "something1": Case(
        something1,
        "Something-Something v1",
        ["Moving something right", "Moving something left"],
        {"train": 4, "val": 2, "test": 2},
    ),
    "charades": Case(
        charades,
        "Charades",
        ["Holding clothes", "Opening a door"],
        {"train": 4, "val": 2, "test": 2},
    ),
    "kinetics": Case(kinetics, None, ["abseiling", "yoga"], {"train": 4, "val": 2, "test": 2}),
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, case in CASES.items():
        made[name] = tmp_path_factory.mktemp(name)
        case.make(made[name])
    return made


@pytest.mark.parametrize("name", CASES)
def test_recognised(name: str, roots: dict[str, Path]) -> None:
    case, found = CASES[name], read_catalogue(roots[name])
    assert found.official == case.title
    assert found.class_names == case.classes
    assert {split: len(records) for split, records in found.records.items()} == case.counts
    assert not any(found.missing.values())
    assert found.multi_label == (name == "charades")
    if name not in ("charades", "something1"):
        assert sorted(r.label or 0 for r in found.records["test"]) == [0, 1]


@pytest.mark.parametrize("name", CASES)
def test_line_ends_and_marks(name: str, roots: dict[str, Path], tmp_path: Path) -> None:
    """What an editor on Windows makes of the lists is the same data set."""
    copied = tmp_path / "copy"
    shutil.copytree(roots[name], copied)
    lists = [p for p in copied.rglob("*") if p.suffix in (".txt", ".csv", ".json")]
    for path in lists:
        text = path.read_text("utf-8-sig")  # line ends become \n
        path.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    found, expected = read_catalogue(copied), read_catalogue(roots[name])
    assert lists
    assert (found.official, found.class_names) == (expected.official, expected.class_names)
    for split, records in expected.records.items():
        places = [Path(r.path).relative_to(roots[name]) for r in records]
        assert [Path(r.path).relative_to(copied) for r in found.records[split]] == places
        assert [r.labels or r.label for r in found.records[split]] == [
            r.labels or r.label for r in records
        ]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_from_the_files_to_a_result(
    name: str, roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(roots[name])
    assert main(["train", "fit", "--data.root", root, "--out", str(tmp_path), *SMALL, *FLAGS]) == 0
    told = capsys.readouterr().out
    assert ("left and right matter" in told) == name.startswith("something")
    run = next(tmp_path.glob("*/*"))
    words = ["--data.root", root, "--trainer.accelerator", "cpu", *FLAGS]
    assert main(["train", "test", "--checkpoint", str(run), *words]) == 0
    told = capsys.readouterr().out
    assert ("mAP" in told) == (name == "charades")
    assert ("has no labels" in told) == (name == "something1")
    path = next(run.glob("best_*.json"))
    assert json.loads(path.read_text())["census"]["videos_per_class"].keys() == set(
        CASES[name].classes
    )
    record = read_catalogue(root).records["test"][0].path
    assert (
        main(["predict", record, "--checkpoint", str(run), "--views", "1x1", "--no-isolate"]) == 0
    )


def test_official_split(
    roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The split is chosen; a checkpoint is tested on its own, and refused on another one."""
    root = str(roots["ucf"])
    groups = [
        {
            Path(r.path).name.split("_")[2]
            for r in read_catalogue(root, official_split=n).records["test"]
        }
        for n in (1, 2, 3)
    ]
    assert groups == [{"g01"}, {"g02"}, {"g03"}]
    common = ["--data.root", root, "--trainer.accelerator", "cpu", *FLAGS]
    fit = ["train", "fit", "--out", str(tmp_path), *SMALL, *common]
    assert main([*fit, "--data.official_split", "2"]) == 0
    assert "UCF-101, official split 2 of 3" in capsys.readouterr().out
    run = str(next(tmp_path.glob("*/*")))
    assert main(["train", "validate", "--checkpoint", run, *common]) == 0
    assert "official split 2 of 3" in capsys.readouterr().out
    wrong = ["--checkpoint", run, *common, "--data.official_split", "1"]
    for command in ("test", "validate"):
        assert main(["train", command, *wrong]) == 2
        assert "give --data.official_split 2" in capsys.readouterr().err
    assert main([*fit, "--data.official_split", "1", "--resume", run]) == 2
    assert "official split 2" in capsys.readouterr().err
    assert main(["compare", f"a={run}/best.ckpt", "--data", root, "--no-speed"]) == 1
    assert "official split 2" in capsys.readouterr().err


def test_wrong_splits(roots: dict[str, Path]) -> None:
    with pytest.raises(DatasetError, match="UCF-101 here has the splits 1, 2, 3"):
        read_catalogue(roots["ucf"], official_split=4)
    with pytest.raises(DatasetError, match="Charades has only one official split"):
        read_catalogue(roots["charades"], official_split=1)
    with pytest.raises(DatasetError, match="contains no official lists"):
        read_catalogue(roots["kinetics"], official_split=1)


def test_options_that_official_lists_leave_no_choice(
    roots: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="UCF-101 bring their class names along"):
        read_catalogue(roots["ucf"], class_names=["BandMarching", "ApplyEyeMakeup"])
    with pytest.raises(DatasetError, match=r"first_label 0 .* official lists of UCF-101 name them"):
        read_catalogue(roots["ucf"], first_label=0)
    lists = {"train": str(roots["ucf"] / "ucfTrainTestlist/trainlist01.txt")}
    with pytest.raises(DatasetError, match=r"official_split 2 .* in place of them"):
        read_catalogue(roots["ucf"], lists=lists, official_split=2)
    for name in ("a", "b"):
        write(tmp_path / name / "1.mp4", "")
    with pytest.raises(DatasetError, match=r"first_label 1 .* class folders of"):
        read_catalogue(tmp_path, first_label=1)
    write(tmp_path / "trainlist01.txt", "a/1.mp4 1\nb/1.mp4 2\n")  # without classInd.txt
    found = read_catalogue(tmp_path, class_names=["b", "a"])
    assert found.class_names == ["b", "a"]
    assert found.notes == ["UCF-101, official split 1 of 1; testlist01.txt is not there"]


def test_a_video_twice_in_json_of_one_line(tmp_path: Path) -> None:
    write(tmp_path / "videos/1.webm", "")
    write(tmp_path / "videos/2.webm", "")
    entries = [{"id": "1", "template": "a"}, {"id": "2", "template": "b"}]
    file = tmp_path / "something-something-v2-train.json"
    write(file, json.dumps([*entries, entries[0]]))
    assert len(read_catalogue(tmp_path).records["train"]) == 2
    write(file, json.dumps([*entries, {"id": "1", "template": "b"}]))
    with pytest.raises(DatasetError, match="1 has the label b, in line 1 it has a"):
        read_catalogue(tmp_path)


def test_left_and_right(roots: dict[str, Path]) -> None:
    data = VideoDataModule(str(roots["something2"]))
    data.setup("fit")
    assert data.augmentation.flip_exceptions == {0, 1}


def test_wrong_lines(tmp_path: Path) -> None:
    write(tmp_path / "a_test_split1.txt", "x.avi 1\nx.avi 7\n")
    with pytest.raises(DatasetError, match=r"a_test_split1.txt, line 2: 'x.avi 7' is not"):
        read_catalogue(tmp_path)
    other = tmp_path / "charades"
    write(other / "Charades_v1_classes.txt", "c000 Holding\n")
    write(other / "Charades_v1_train.csv", 'id,script,actions\na,"x\ny",c000 1 2\nb,z,c900 1 2\n')
    with pytest.raises(DatasetError, match=r"train.csv, line 4: 'c900 1 2' is not"):
        read_catalogue(other)
    frames = tmp_path / "frames"
    write(
        frames / "something-something-v1-train.csv", "12;Moving something\n13;Opening something\n"
    )
    write(frames / "20bn-something-something-v1/12/00001.jpg", "")
    with pytest.raises(DatasetError, match="is a folder of frames; videonl reads video files"):
        read_catalogue(frames)
