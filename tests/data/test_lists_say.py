"""Lists say what they are: the right reading, or one sentence with file, line and the way out."""

from pathlib import Path

import pytest

from tests.inference.networks import write_checkpoint
from videonl.class_names import order_classes
from videonl.cli.main import main
from videonl.data import Catalogue, VideoDataModule, read_catalogue
from videonl.errors import DatasetError
from videonl.inference import read_list as read_paths

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def read(root: Path, *, names: str | None = None, first: int | None = None) -> Catalogue:
    lists = {s: str(root / f"{s}.txt") for s in ("train", "val") if (root / f"{s}.txt").exists()}
    return read_catalogue(root, lists=lists, class_names=names, first_label=first)


def answers(catalogue: Catalogue, split: str = "train") -> dict[str, str]:
    return {
        Path(record.path).name: catalogue.class_names[record.label]
        for record in catalogue.records[split]
        if record.label is not None
    }


def write(root: Path, train: str, val: str | None = None) -> Path:
    (root / "train.txt").write_text(train, encoding="utf-8")
    if val is not None:
        (root / "val.txt").write_text(val, encoding="utf-8")
    return touch(root, *(f"{folder}/{n}.mp4" for folder in ("run", "walk") for n in range(4)))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_unicode_and_any_line_end(tmp_path: Path, encoding: str, end: str) -> None:
    touch(tmp_path, "laß.mp4", "走.mp4")
    text = end.join(["# note", "laß.mp4 jouer à", "", "走.mp4\t走る", ""])
    (tmp_path / "train.txt").write_bytes(text.encode(encoding))
    assert answers(read(tmp_path)) == {"laß.mp4": "jouer à", "走.mp4": "走る"}


REFUSED = {
    "too many": ("run/0.mp4 0\nrun/1.mp4 99999999999\n", None, r"train.txt, line 2 .* 99999999999"),
    "long number": (f"run/0.mp4 0\nrun/1.mp4 {'9' * 5000}\n", None, r"mixes class numbers"),
    "NUL": ("run/0.mp4 a\0\nrun/1.mp4 b\n", None, r"train.txt, line 1 has a NUL"),
    "no label": (
        "# x\nrun/0.mp4 a\n\nwalk/0.mp4\n",
        None,
        r"train.txt, line 4: walk/0.mp4 has no ",
    ),
    "from 1": ("run/0.mp4 1\nrun/1.mp4 2\n", None, r"train.txt, line 1.*--data.first_label 1"),
    "kinds": ("run/0.mp4 a\nrun/1.mp4 b\n", "\nwalk/1.mp4 1\n", r"val.txt, line 2 has the label 1"),
    "kinds turned": ("run/0.mp4 0\nrun/1.mp4 1\n", "walk/1.mp4 a\n", r"class_names_file"),
    "outside": (
        "run/0.mp4 0\nrun/1.mp4 1\n",
        "walk/0.mp4 0\nwalk/1.mp4 2\n",
        r"val.txt, line 2 has",
    ),
    "two labels": (
        "run/0.mp4 a\nrun/1.mp4 b\n./run/0.mp4 b\n",
        None,
        r"line 3: ./run/0.mp4 has.*line 1",
    ),
    "shared": (
        "run/0.mp4 a\nrun/1.mp4 b\n",
        "# x\nrun/1.mp4 b\n",
        r"val.txt, line 2: .*train.txt, line 2",
    ),
    "mixed": (
        "run/0.mp4 0\nrun/1.mp4 b\n",
        None,
        r"mixes class numbers and class names .lines 1 and 2",
    ),
    "shifted": (
        "run/0.mp4 0\nwalk/0.mp4 1\n",
        "run/1.mp4 1\n",
        r"val.txt, line 1: run/1.mp4 has the class number 1, but line 1 of .*train.txt gives",
    ),
    "no labels": ("0.mp4\n1.mp4\n", None, r"has no labels .line 1: 0.mp4."),
    "span": ("run/0.mp4 a 3.0 2.0\n", None, r"train.txt, line 1: a part from 3 to 2 seconds"),
    "two cells": (
        'path,label\n"run/0.mp4","a\nb"\n',
        None,
        r"train.txt, line 3: expected the columns path, label .1 cell; quote one that has a ','",
    ),
    "long cell": (f"path,label\n{'x' * 200_000},a\n", None, r"line 2 has 200002 letters"),
    "infinite": (
        "label,youtube_id,time_start,time_end\na,x,inf,2\n",
        None,
        r"train.txt, line 2: expected the columns label",
    ),
    "no seconds": (
        "label,youtube_id,split\na,x,train\n",
        None,
        r"columns label, youtube_id, split, and a csv of Kinetics has time_start and time_end",
    ),
    "accents": (
        "run/0.mp4 caf\u00e9\nrun/1.mp4 cafe\u0301\n",
        None,
        r"punctuation, case or how accents are encoded",
    ),
    "no width": ("run/0.mp4 a\nrun/1.mp4 a\u200b\n", None, r"how accents are encoded"),
    "vowels": (
        "run/0.mp4 \u0915\u093e\nrun/1.mp4 b\n",
        "run/2.mp4 \u0915\u093f\n",
        r"has the class",
    ),
    "nothing": ("# a\n#b\n", None, "is empty"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_one_sentence_with_file_and_line(tmp_path: Path, kind: str) -> None:
    train, val, words = REFUSED[kind]
    write(tmp_path, train, val)
    with pytest.raises(DatasetError, match=words) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_lines_count_as_an_editor_counts(tmp_path: Path) -> None:
    write(tmp_path, "run/0.mp4 a\x0bb\u2028c\nrun/1.mp4 d\nnonsense\n")
    with pytest.raises(DatasetError, match="line 3: 'nonsense'"):
        read(tmp_path)


def test_numbers_from_one(tmp_path: Path) -> None:
    """Said, or certain: a class file of as many names, or a folder for every number."""
    names = tmp_path / "classInd.txt"
    names.write_bytes(b"1 Run\r\n2 Walk\r\n")
    write(tmp_path, "0.mp4 1\n1.mp4 2\n", "3.mp4 2\n")
    touch(tmp_path, "0.mp4", "1.mp4", "2.mp4", "3.mp4")
    said = read(tmp_path, first=1)
    assert (answers(said), said.class_names) == ({"0.mp4": "1", "1.mp4": "2"}, ["1", "2"])
    assert answers(read(tmp_path, first=0)) == {"0.mp4": "1", "1.mp4": "2"}
    certain = read(tmp_path, names=str(names))
    assert answers(certain) == {"0.mp4": "Run", "1.mp4": "Walk"}
    assert answers(certain, "val") == {"3.mp4": "Walk"}
    assert "from 1" in certain.notes[0]
    write(tmp_path, "run/0.mp4 1\nwalk/1.mp4 2\n", "walk/2.mp4\nrun/3.mp4\n")
    folders = read(tmp_path)
    assert folders.class_names == ["run", "walk"]
    assert answers(folders, "val") == {"2.mp4": "walk", "3.mp4": "run"}


def test_a_label_outside_of_the_class_file(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("Run\nWalk\n")
    for train, val, words in (
        ("run/0.mp4 Run\nwalk/0.mp4 Walk\n", "run/1.mp4 Run\nrun/2.mp4 Swim\n", "class 'Swim'"),
        ("run/0.mp4 0\nwalk/0.mp4 1\n", "run/1.mp4 0\nrun/2.mp4 5\n", "class number 5, but"),
    ):
        write(tmp_path, train, val)
        with pytest.raises(DatasetError, match=f"val.txt, line 2 has the {words}"):
            read(tmp_path, names=str(names))


def test_labels_from_folders(tmp_path: Path) -> None:
    write(tmp_path, "run/0.mp4\nwalk/1.mp4\n", "walk\\2.mp4\n")
    found = read(tmp_path)
    assert answers(found) == {"0.mp4": "run", "1.mp4": "walk"}
    assert answers(found, "val") == {"2.mp4": "walk"}


def test_a_line_twice_counts_once(tmp_path: Path) -> None:
    write(tmp_path, "run/0.mp4 a\nwalk/0.mp4 b\nrun/0.mp4 a\n")
    found = read(tmp_path)
    assert len(found.records["train"]) == 2
    assert "1 repeated line ignored" in found.notes[0]


def test_a_column_of_paths_wins_over_one_of_ids(tmp_path: Path) -> None:
    write(tmp_path, "youtube_id,path,label\nx,run/0.mp4,a\ny,walk/0.mp4,b\n")
    assert answers(read(tmp_path)) == {"0.mp4": "b"}
    assert len(read(tmp_path).records["train"]) == 2
    text = (tmp_path / "train.txt").read_text()
    assert read_paths(text, source="list") == ["run/0.mp4", "walk/0.mp4"]


def test_folders_beside_a_list(tmp_path: Path) -> None:
    """Class folders of one split are read although another split has a list."""
    touch(tmp_path, "train/run/0.mp4", "train/walk/1.mp4", "test/2.mp4", "test/3.mp4")
    (tmp_path / "test.csv").write_text("path,label\n2.mp4,walk\n3.mp4,run\n")
    found = read_catalogue(tmp_path)
    assert found.class_names == ["run", "walk"]
    assert answers(found) == {"0.mp4": "run", "1.mp4": "walk"}
    assert answers(found, "test") == {"2.mp4": "walk", "3.mp4": "run"}
    (tmp_path / "test.csv").write_text("path,label\n2.mp4,1\n3.mp4,0\n")
    with pytest.raises(DatasetError, match="one list numbers the classes, the other names them"):
        read_catalogue(tmp_path)
    data = VideoDataModule(str(tmp_path), test_list=str(tmp_path / "test.csv"))
    with pytest.raises(DatasetError, match=r"give --data\.train_list, too"):
        data.setup("fit")


def test_names_that_differ_in_signs(tmp_path: Path) -> None:
    assert order_classes(["C++", "C", "left->right", "left<-right"]) == [
        "C", "C++", "left->right", "left<-right",
    ]  # fmt: skip
    names = tmp_path / "names.txt"
    names.write_text("left<-right\nC++\nleft->right\nC\n")
    write(tmp_path, "run/0.mp4 C\nrun/1.mp4 C++\nrun/2.mp4 left->right\nrun/3.mp4 left<-right\n")
    for file in (None, str(names)):
        assert list(answers(read(tmp_path, names=file)).values()) == [
            "C", "C++", "left->right", "left<-right",
        ]  # fmt: skip
    names.write_text("C\nleft<-right\nleft->right\n")
    with pytest.raises(DatasetError, match="'C' and 'C\\+\\+' would both be matched"):
        read(tmp_path, names=str(names))
    root = touch(tmp_path / "folders", "train/C/1.mp4", "train/C++/2.mp4")
    assert answers(read_catalogue(root)) == {"1.mp4": "C", "2.mp4": "C++"}
    with pytest.raises(DatasetError, match="would both be matched"):
        read_catalogue(root, class_names=["C", "D"])


def test_hash_in_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "#1 goal.mp4", "a #2.mp4", "#t.mp4")
    (tmp_path / "train.txt").write_text("# list\n#1 goal.mp4 C#\na #2.mp4 D\n#gone.mp4 E\n")
    assert answers(read(tmp_path)) == {"#1 goal.mp4": "C#", "a #2.mp4": "D"}
    (tmp_path / "train.txt").write_text("path,label\n#t.mp4,C#\n# a remark\na #2.mp4,D\n")
    assert answers(read(tmp_path)) == {"#t.mp4": "C#", "a #2.mp4": "D"}


def test_parts_of_videos(tmp_path: Path) -> None:
    lines = 'run/0.mp4 0.5 1.5 a\nrun/0.mp4 b 2.0 3.0\n"run/1.mp4",0,2,c d\n'
    write(tmp_path, lines, "run/0.mp4 a 3.5 4.0\n")
    found = read(tmp_path)
    assert answers(found) == {
        "0.mp4#t=0.5,1.5": "a", "0.mp4#t=2,3": "b", "1.mp4#t=0,2": "c d",
    }  # fmt: skip
    (tmp_path / "train.txt").write_text("path,start,end,label\nrun/0.mp4,1,,a\nrun/1.mp4,,,b\n")
    (tmp_path / "val.txt").unlink()
    assert answers(read(tmp_path)) == {"0.mp4#t=1": "a", "1.mp4": "b"}
    (tmp_path / "val.txt").write_text("run/0.mp4 a 3.5 4.0\n")
    with pytest.raises(DatasetError, match=r"val.txt, line 1: run/0.mp4 is a training video"):
        read(tmp_path)


def test_pointers_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    with pytest.raises(DatasetError, match="git lfs pull"):
        read(tmp_path)
    (tmp_path / "train.txt").write_bytes(b"a.mp4 caf\xe9\n")
    with pytest.raises(DatasetError, match="line 1: the label is not Unicode text"):
        read(tmp_path)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_from_list(
    tmp_path: Path,
    encoding: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The paths are found: what fails then is that they are no videos."""
    monkeypatch.chdir(touch(tmp_path, "laß.mp4", "#1.mp4", "b c.mp4"))
    text = "# list\r\nlaß.mp4\r\n#1.mp4\r\n\r\nb c.mp4 push up\r\n"
    (tmp_path / "list.txt").write_bytes(text.encode(encoding))
    words = ["--checkpoint", str(write_checkpoint(tmp_path)), "--no-isolate", "--views", "1x1"]
    assert main(["predict", "--from-list", "list.txt", *words]) == 1
    told = capsys.readouterr().err
    assert [name in told for name in ("laß.mp4", "#1.mp4", "b c.mp4")] == [True] * 3
    assert "empty" in told
    assert "no such file" not in told


def test_from_a_list_with_a_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(touch(tmp_path, "a b.mp4"))
    words = ["--checkpoint", str(write_checkpoint(tmp_path)), "--no-isolate"]
    (tmp_path / "list.csv").write_text("label,path\n1,a b.mp4\n")
    assert main(["predict", "--from-list", "list.csv", *words]) == 1
    assert "a b.mp4: the file is empty" in capsys.readouterr().err
    (tmp_path / "list.csv").write_text("label,youtube_id,time_start,time_end\n")
    assert main(["predict", "--from-list", "list.csv", *words]) == 2
    assert "contains no file names; give the folder" in capsys.readouterr().err


TABLES = {
    "semicolons": "path;label\r\nrun/0.mp4;a\r\nwalk/0.mp4;b, c\r\n",
    "quoted": '"path";"label"\nrun/0.mp4;"a"\n"walk/0.mp4";"b, c"\n',
    "quoted with commas": '"path","label"\n"run/0.mp4","a"\n"walk/0.mp4","b, c"\n',
    "for Excel": 'sep=;\r\nLabel;Path\r\na;run/0.mp4\r\n"b, c";walk/0.mp4\r\n',
    "spaces": 'path, label\nrun/0.mp4 , a \nwalk/0.mp4, "b, c"\n',
    "empty cells": 'path,label\nrun/0.mp4,a,,\n,\nwalk/0.mp4,"b, c"\n,,,\n',
    "tabs": "path\tlabel\nrun/0.mp4\ta\nwalk/0.mp4\tb, c\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_as_spreadsheets_write_them(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For training, and without their labels for classifying."""
    write(tmp_path, TABLES[kind])
    found = read(tmp_path)
    names = {Path(record.path).parent.name: record.label for record in found.records["train"]}
    assert (found.class_names, names) == (["a", "b, c"], {"run": 0, "walk": 1})
    monkeypatch.chdir(tmp_path)
    assert read_paths(TABLES[kind].replace("\r", ""), source="x") == ["run/0.mp4", "walk/0.mp4"]


def test_paths_as_people_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blanks, quotes, and the seconds of a part."""
    monkeypatch.chdir(touch(tmp_path, "a b.mp4", "c.mp4"))
    text = """c.mp4 \t\n "a b.mp4"\n'a b.mp4' \nc.mp4 1.0 2.5 x\nc.mp4 y\n"""
    assert read_paths(text, source="x") == [
        "c.mp4", "a b.mp4", "a b.mp4", "c.mp4#t=1,2.5", "c.mp4"
    ]  # fmt: skip
    assert read_paths("path,start,end\nc.mp4,1,\n", source="x") == ["c.mp4#t=1"]


def test_accents_of_any_encoding_are_one_class(tmp_path: Path) -> None:
    root = touch(tmp_path, "train/caf\u00e9/0.mp4", "train/tea/1.mp4", "val/cafe\u0301/2.mp4")
    assert answers(read_catalogue(root), "val") == {"2.mp4": "caf\u00e9"}


def test_paths_with_accents_of_any_encoding_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list that was written on Linux beside files of an archive of macOS, and the other way."""
    touch(tmp_path, "cafe\u0301/1 e\u0301te\u0301.mp4", "th\u00e9/2 \u00e9.mp4", "th\u00e9/3.mp4")
    text = "caf\u00e9/1 \u00e9t\u00e9.mp4,a\nthe\u0301\\2 e\u0301.mp4,b\nthe\u0301/3.mp4,b\n"
    write(tmp_path, f"path,label\n{text}")
    found = read(tmp_path)
    assert [(Path(r.path).name[0], r.label) for r in found.records["train"]] == [
        ("1", 0), ("2", 1), ("3", 1)
    ]  # fmt: skip
    assert not found.missing["train"]
    words = ["--checkpoint", str(write_checkpoint(tmp_path)), "--no-isolate", "--views", "1x1"]
    paths = [str(tmp_path / line.split(",")[0]) for line in text.splitlines()[::2]]
    assert main(["predict", *paths, str(tmp_path / "caf\u00e8"), *words]) == 1
    told = capsys.readouterr().err
    assert (told.count("the file is empty"), told.count("no such file")) == (2, 1)


def test_a_class_without_a_given_name_is_missing_there(tmp_path: Path) -> None:
    touch(tmp_path, "train/run/0.mp4", "train/walk/0.mp4")
    (tmp_path / "names.txt").write_text("run\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="among the class names that were given: walk; add"):
        read(tmp_path, names=str(tmp_path / "names.txt"))


def test_two_lists_of_one_split_are_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "train.csv").write_text("a.mp4,run\n")
    (tmp_path / "train.txt").write_text("a.mp4 run\nb.mp4 walk\n")
    found = read_catalogue(tmp_path)
    assert found.class_names == ["run"]
    (note,) = [note for note in found.notes if "is there, too" in note]
    assert note.startswith(
        f"{tmp_path / 'train.csv'} is the list of train; {tmp_path / 'train.txt'}"
    )
    given = read_catalogue(tmp_path, lists={"train": str(tmp_path / "train.txt")})
    assert given.class_names == ["run", "walk"]
    assert not any("is there, too" in note for note in given.notes)


def test_a_table_of_all_splits_is_read_for_each(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{n}.mp4" for n in range(5)))
    rows = ["0.mp4,a,training", "1.mp4,b,Train", "2.mp4,a,validation", "3.mp4,b,test", "4.mp4,b,"]
    table = tmp_path / "all.csv"
    table.write_text("\n".join(["path,label,split", *rows]))

    def stems(split: str) -> list[str]:
        found = read_catalogue(tmp_path, lists={split: str(table)}).records[split]
        return [Path(record.path).stem for record in found]

    assert (stems("train"), stems("val"), stems("test")) == (
        ["0", "1", "4"],
        ["2", "4"],
        ["3", "4"],
    )
    table.write_text("\n".join(["path,label,split", *rows[:3]]))
    with pytest.raises(DatasetError, match="tells the splits train, training, validation apart"):
        stems("test")
    for column in ("1\n2", "val\nval", "cam1\ntrain"):  # other things, or the author's own word
        both = (f"{n}.mp4,{'ab'[n]},{word}" for n, word in enumerate(column.split()))
        table.write_text("\n".join(["path,label,split", *both]))
        assert stems("train") == ["0", "1"]


def test_how_excel_is_told_the_separator_is_no_line(tmp_path: Path) -> None:
    write(tmp_path, "sep=;\nrun/0.mp4;a\nwalk/0.mp4;b\n")
    assert read(tmp_path).class_names == ["a", "b"]


def test_a_list_with_holes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"a.mp4 x\n" + bytes(9) + b"b.mp4 y\n")
    with pytest.raises(DatasetError, match="line 2 has a NUL character"):
        read(tmp_path)
