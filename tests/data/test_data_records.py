"""Folders, lists, class order, census, cache: what a data set is read as."""

import random
from pathlib import Path

import pytest

from videonl.class_names import kinetics400, normalised, order_classes
from videonl.data import (
    Catalogue,
    FolderIndex,
    census_text,
    census_values,
    read_catalogue,
    read_list,
    read_skip_list,
    write_skip_list,
)
from videonl.errors import DatasetError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def pairs(catalogue: Catalogue, split: str) -> list[tuple[str, str | None]]:
    names = catalogue.class_names
    return [
        (Path(r.path).name, None if r.label is None else names[r.label])
        for r in catalogue.records[split]
    ]


def test_class_folders(tmp_path: Path) -> None:
    touch(
        tmp_path, "train/walk/1.mp4", "train/walk/2.AVI", "train/run/3.mkv", "train/run/notes.txt"
    )
    touch(tmp_path, "train/run/.hidden.mp4", "valid/run/4.webm", "valid/walk/5.mov")
    catalogue = read_catalogue(tmp_path)
    assert catalogue.class_names == ["run", "walk"]
    assert pairs(catalogue, "train") == [("3.mkv", "run"), ("1.mp4", "walk"), ("2.AVI", "walk")]
    assert pairs(catalogue, "val") == [("4.webm", "run"), ("5.mov", "walk")]
    assert catalogue.census["train"].per_class == {"run": 1, "walk": 2}
    assert census_values(catalogue.census)["val"]["found"] == 2


# The endings that people have and that the demuxers of videonl.video read.
ENDINGS = (
    *("mp4", "m4v", "mov", "qt", "3gp", "3g2", "f4v", "mj2", "mkv", "webm", "avi", "divx", "flv"),
    *("ogv", "ogg", "ogm", "ts", "mts", "m2ts", "mpg", "mpeg", "vob", "m1v", "m2v", "asf", "wmv"),
    *("gif", "ivf", "mxf", "h264", "hevc"),
)


def test_endings_in_any_case(tmp_path: Path) -> None:
    names = [f"{n}.{case}" for n, end in enumerate(ENDINGS) for case in (end, end.upper())]
    touch(tmp_path, *(f"run/{name}" for name in names), "run/1.jpg", "run/2.TXT", "walk/1.Mp4")
    catalogue = read_catalogue(tmp_path)
    assert [r.path for r in catalogue.records["train"]][-1].endswith("1.Mp4")
    assert {name for name, label in pairs(catalogue, "train") if label == "run"} == set(names)
    assert "2 other files left out: .jpg (1), .txt (1)" in catalogue.notes[0]


WRONG_LAYOUTS = {
    "absent": ([], "does not exist"),
    "empty": (["x/"], "is empty"),
    "too deep": (
        ["train/all/run/1.mp4", "train/all/walk/2.mp4"],
        "too deep, in .*all/<class>/ .run",
    ),
    "deep root": (["data/run/1.mp4", "data/walk/2.mp4"], "too deep, in .*data/<class>/ .run, walk"),
    "loose videos": (["1.mp4"], "video files, but no class folders"),
    "other things": (["docs/readme.md"], "contains no train, val or test folder .it contains docs"),
    "no classes": (["train/1.mp4"], "1 video without class folders"),
    "empty train": (["train/"], "nothing to read"),
    "no videos": (["train/run/a.txt"], "contain no video files"),
    "strange class": (["train/a/1.mp4", "val/b/1.mp4"], "classes that are not among.*: b;"),
    "same names": (["train/Run/1.mp4", "train/run_/1.mp4"], "differ only in punctuation, case or"),
}


@pytest.mark.parametrize("kind", WRONG_LAYOUTS)
def test_wrong_layouts_are_one_sentence(kind: str, tmp_path: Path) -> None:
    names, words = WRONG_LAYOUTS[kind]
    root = tmp_path / "data"
    for name in names:
        if name.endswith("/"):
            (root / name).mkdir(parents=True) if name != "x/" else root.mkdir()
        else:
            touch(root, name)
    with pytest.raises(DatasetError, match=words) as caught:
        read_catalogue(root)
    assert "\n" not in str(caught.value)


def test_kinetics_order_however_the_folders_are_written() -> None:
    names = kinetics400()
    assert len(names) == 400
    for change in (
        lambda n: n,
        lambda n: n.replace(" ", "_"),
        lambda n: n.translate({ord(c): None for c in "'()"}).replace(" ", "_"),  # torchvision
        lambda n: f'"{n}"'.upper(),
    ):
        folders = [change(name) for name in names]
        random.Random(0).shuffle(folders)
        assert order_classes(folders) == names
    assert order_classes(["yoga", "abseiling"]) == ["abseiling", "yoga"]
    plain = sorted(n.translate({ord(c): None for c in "'()"}).replace(" ", "_") for n in names)
    assert [normalised(n) for n in plain] != [normalised(n) for n in names]  # sorting would swap


def test_other_classes_are_sorted() -> None:
    assert order_classes(["b", "a", "Ä", "走る"]) == ["a", "b", "Ä", "走る"]
    assert order_classes(["yoga", "my own"]) == ["my own", "yoga"]


LINES = {
    "mmaction2": ("a.mp4 0\nsub/b c.mp4 1\n", [(0,), (1,)]),
    "several": ("a.mp4 0 1\nsub/b c.mp4 1\n", [(0, 1), (1,)]),
    "commas": ("a.mp4,0\nsub/b c.mp4,1\n", [(0,), (1,)]),
    "tabs": ("a.mp4\t0\nsub/b c.mp4\t1\n", [(0,), (1,)]),
    "names": ('a.mp4 push up\nsub/b c.mp4 "yoga"\n', [("push up",), ("yoga",)]),
    "semicolons": ("a.mp4,yoga;push up\nsub/b c.mp4,0;1\n", [("yoga", "push up"), (0, 1)]),
    "quoted path": ('a.mp4 0\n"sub/b c.mp4" 1\n', [(0,), (1,)]),
    "header": ("path,label\na.mp4,0\nsub/b c.mp4,1\n", [(0,), (1,)]),
    "header tab": ("label\tvideo\nrun\ta.mp4\nwalk\tsub/b c.mp4\n", [("run",), ("walk",)]),
    "comment": ("# made by hand\na.mp4 0\n\nsub/b c.mp4 1\n", [(0,), (1,)]),
    "no labels": ("a.mp4\nsub/b c.mp4\n", [(), ()]),
}


@pytest.mark.parametrize("kind", LINES)
def test_list_formats(kind: str, tmp_path: Path) -> None:
    text, labels = LINES[kind]
    file = tmp_path / "list.txt"
    file.write_text(text)
    entries = read_list(file)
    assert [entry.path for entry in entries] == ["a.mp4", "sub/b c.mp4"]
    assert [entry.labels for entry in entries] == labels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("frames/abc 120 3\n", "folder of frames"),
        ("a.mp4 0\nnonsense\n", "line 2: 'nonsense' is not 'path label'"),
        ("label,youtube_id,time_start,time_end,split\nyoga,abc\n", "line 2"),
    ],
)
def test_wrong_lists(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_list(file)


def test_official_csv_and_flat_folder(tmp_path: Path) -> None:
    """CVDF's copy: flat folders, ids with - and _, quoted labels, files that are not there."""
    touch(
        tmp_path,
        "train/-0kVxoFuMGQ_000622_000632.mp4",
        "train/a_b_c_d_e_f_000001_000011.mkv",
        "val/zzzzzzzzzzz_000000_000010.mp4",
    )
    header = "label,youtube_id,time_start,time_end,split\n"
    (tmp_path / "train.csv").write_text(
        header
        + 'yoga,-0kVxoFuMGQ,622,632,train\n"""sharpening knives""",a_b_c_d_e_f,1,11,train\n'
        + "yoga,not_there__,1,11,train\n"
    )
    (tmp_path / "val.csv").write_text(header + "yoga,zzzzzzzzzzz,0,10,val\n")
    catalogue = read_catalogue(tmp_path)
    assert catalogue.class_names == ["sharpening knives", "yoga"]
    assert pairs(catalogue, "train") == [
        ("-0kVxoFuMGQ_000622_000632.mp4", "yoga"),
        ("a_b_c_d_e_f_000001_000011.mkv", "sharpening knives"),
    ]
    census = catalogue.census["train"]
    assert (census.listed, census.found, census.missing) == (3, 2, 1)
    text = census_text(catalogue.census, catalogue.class_names)
    assert "train: found 2 of 3 videos, 1 missing (e.g. not_there___000001_000011)" in text


def test_lists_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "videos/1.mp4", "videos/2.mp4", "train/3.mp4")
    train, val = tmp_path / "kinetics_tiny_train_video.txt", tmp_path / "v.txt"
    train.write_text("videos/1.mp4 0 2\n3.mp4 1\n")
    val.write_text("videos/2.mp4 2\n")
    names = tmp_path / "names.txt"
    names.write_text("zebra\napple\nmango\n")
    lists = {"train": str(train), "val": str(val)}
    catalogue = read_catalogue(tmp_path, lists=lists, class_names=str(names))
    assert catalogue.class_names == ["zebra", "apple", "mango"]  # the file's order is the order
    assert catalogue.multi_label
    assert catalogue.records["train"][0].labels == (0, 2)
    assert pairs(catalogue, "val") == [("2.mp4", "mango")]
    assert read_catalogue(tmp_path, lists=lists).class_names == ["0", "1", "2"]
    val.write_text("videos/2.mp4 7\n")
    with pytest.raises(DatasetError, match="class number 7, but there are 3 classes"):
        read_catalogue(tmp_path, lists=lists, class_names=str(names))
    val.write_text("videos/absent.mp4 0\n")
    with pytest.raises(DatasetError, match=r"none of the videos in .* \(1\)"):
        read_catalogue(tmp_path, lists=lists)
    train.write_text("videos/1.mp4 0\nvideos/2.mp4 yoga\n")
    with pytest.raises(DatasetError, match="mixes class numbers and class names"):
        read_catalogue(tmp_path, lists=lists)


def test_class_only_in_val_list(tmp_path: Path) -> None:
    touch(tmp_path, "1.mp4")
    (tmp_path / "train.txt").write_text("1.mp4 yoga\n")
    (tmp_path / "val.txt").write_text("1.mp4 dancing\n")
    with pytest.raises(DatasetError, match="'dancing', which is not among the known classes"):
        read_catalogue(tmp_path)


def test_skip_list_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.mp4", "train/a/b\tc.mp4", "train/a/3.mp4")
    bad = {str(tmp_path / "train/a/1.mp4"): "empty\nfile"}
    write_skip_list(tmp_path, tmp_path / "videonl_skip.tsv", bad)
    assert read_skip_list(tmp_path) == {str(tmp_path / "train/a/1.mp4"): "empty file"}
    catalogue = read_catalogue(tmp_path)
    assert catalogue.census["train"].unreadable == 1
    assert catalogue.census["train"].found == 2
    with pytest.raises(DatasetError, match="skip list"):
        read_catalogue(tmp_path, skip_list=str(tmp_path / "absent.tsv"))


@pytest.mark.parametrize("line", ["./a/é.mp4", "a\\é.mp4", "a/e\u0301.mp4", "b/../a/é.mp4"])
def test_a_skip_list_of_any_system(line: str, tmp_path: Path) -> None:
    touch(tmp_path, "a/é.mp4", "b/1.mp4")
    (tmp_path / "videonl_skip.tsv").write_text(f"{line}\tbroken\n", encoding="utf-8")
    assert read_catalogue(tmp_path).census["train"].unreadable == 1


def test_index_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videonl.data.walk._WORTH_KEEPING", 1)
    monkeypatch.setattr("videonl.data.walk._SETTLED_NS", 0)
    root = touch(tmp_path / "data", "train/a/1.mp4", "train/b/2.mp4")
    cache = tmp_path / "cache"

    def listed() -> tuple[int, int]:
        index = FolderIndex(root, cache=cache)
        count = sum(len(index.files(root / "train" / name)) for name in ("a", "b"))
        index.save()
        return index.listed, count

    assert listed() == (2, 2)
    assert listed() == (0, 2)
    touch(root, "train/a/3.mp4")
    assert listed() == (1, 3)
    (root / "train/a/1.mp4").unlink()
    assert listed() == (1, 2)
    next(cache.iterdir()).write_text("{damaged")
    assert listed() == (2, 2)
