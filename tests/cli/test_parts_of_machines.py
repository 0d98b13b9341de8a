"""Check, prepare and extract in many processes: parts, killed ones, and the merger."""

import csv
import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.inference.networks import write_checkpoint
from tests.videos import write_video
from videonl.cli.main import main
from videonl.data import read_skip_list
from videonl.errors import VideoNLError
from videonl.shards import Shard, shard_here

Shown = pytest.CaptureFixture[str]
COUNT = 5


def array(task: int, first: int, last: int, count: int) -> dict[str, str]:
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{key}": str(value) for key, value in values.items()}


def torchrun(rank: int, size: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({}, None),
        (torchrun(0, 1), None),
        (torchrun(2, 4), Shard(2, 4)),
        (array(0, 0, 15, 16), Shard(0, 16)),
        (array(16, 1, 16, 16), Shard(15, 16)),
        (array(30, 10, 50, 5), Shard(2, 5)),
        (array(7, 7, 7, 1), None),
        ({**array(2, 1, 2, 2), **torchrun(1, 4)}, Shard(5, 8)),
        (array(3, 1, 7, 3), "gaps"),
        (array(4, 1, 7, 3), Shard(1, 3)),  # 1, 4, 7
    ],
)
def test_which_part_this_is(environment: dict[str, str], shard: Shard | str | None) -> None:
    if shard == "gaps":
        with pytest.raises(VideoNLError, match="the SLURM array of task 3 has gaps"):
            shard_here(environment)
    else:
        assert shard_here(environment) == shard


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five videos of two classes and a file that is none."""
    for number in range(COUNT):
        write_video(tmp_path / "data" / f"c{number % 2}" / f"{number}.mp4", 8 + number)
    (tmp_path / "data" / "c0" / "broken.mp4").write_text("no video")
    (tmp_path / "data" / "train.csv").write_text("c0/0.mp4,0\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parts(words: list[str], environments: list[dict[str, str]]) -> list[int]:
    """The exit codes of processes with these environments."""
    codes = []
    for environment in environments:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            codes.append(main(words))
    return codes


THREE = [torchrun(rank, 3) for rank in range(3)]
TWO = [array(task, 1, 2, 2) for task in (1, 2)]


def test_check(place: Path, capsys: Shown) -> None:
    words = ["check", "data", "--out", "out", "--workers", "1"]
    assert sorted(parts(words, THREE[:2])) == [0, 1]  # the third one was killed
    assert "part 1 of 3; when all have ended: videonl merge out" in capsys.readouterr().out
    assert not list(Path("out").glob("*.csv"))
    with open("out/.videonl_check.00001.jsonl.lock", "wb") as lock:  # as a process that runs
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["merge", "out"]) == 1
    assert "process 1 is still running: merge again when it has ended" in capsys.readouterr().err
    assert main(["merge", "out"]) == 1
    said = capsys.readouterr().err
    assert "process 2 has written nothing yet" in said
    assert "not done yet: 2 videos: start the same commands again to continue" in said
    parts(words, TWO)  # other processes: what the three have done is not done again
    said = capsys.readouterr().out
    assert said.count("already checked: ") == 2
    Path("out/videonl_check.00002.jsonl").unlink(missing_ok=True)
    assert main(["merge", "out"]) == 1  # one is broken
    shown = capsys.readouterr()
    assert "checked 6 files: 5 ok, 1 " in shown.out
    assert "not done yet" not in shown.err
    together = {file.name: file.read_bytes() for file in Path("out").glob("*.[ct]sv")}
    assert main(["check", "data", "--out", "alone", "--workers", "1"]) == 1
    assert set(together) == {"videonl_check.csv", "videonl_skip.tsv"}
    for name, content in together.items():
        assert Path("alone", name).read_bytes() == content
    skipped = read_skip_list(str(place / "data"), "out/videonl_skip.tsv")
    assert [Path(path).name for path in skipped] == ["broken.mp4"]
    capsys.readouterr()
    assert main(["check", "data", "--out", "out", "--leaks", "--shard", "0/2"]) == 2
    assert "--leaks compares all videos" in capsys.readouterr().err
    assert main(["check", "data", "--out", "out"]) == 1  # alone, it goes on with the merged
    assert "already checked: 6 of 6 files" in capsys.readouterr().out


@pytest.mark.slow
def test_prepare(place: Path, capsys: Shown) -> None:
    words = ["prepare", "data", "fast", "--short-side", "32", "--workers", "1"]
    parts(words, THREE[1:])
    assert main(["merge", "fast"]) == 1
    shown = capsys.readouterr()
    assert "process 0 has written nothing yet" in shown.err
    assert "not done yet: 2 videos" in shown.err
    parts(words, TWO)
    assert main(["merge", "fast"]) == 1
    shown = capsys.readouterr()
    assert "prepared 5 of 6 files, 50 frames" in shown.out
    assert "failed  c0/broken.mp4" in shown.out
    assert "not done" not in shown.err
    assert Path("fast/train.csv").read_text("utf-8") == "c0/0.mp4,0\n"
    assert len(list(Path("fast").rglob("*.mp4"))) == COUNT
    assert main([*words[:4], "24", "--workers", "1", "--shard", "0/2"]) in (0, 1)
    assert main(["merge", "fast"]) == 2
    assert "belong to different sets of files or settings" in capsys.readouterr().err


def test_extract(place: Path, capsys: Shown) -> None:
    write_checkpoint(place)
    words = ["extract", "data", "--checkpoint", "model.safetensors", "--device", "cpu"]
    words += ["--out", "features", "--no-isolate"]
    parts(words, THREE[:2])
    assert main(["merge", "features"]) == 1
    assert "not done yet: 2 videos" in capsys.readouterr().err
    parts(words, TWO)
    capsys.readouterr()
    assert main(["merge", "features"]) == 1
    shown = capsys.readouterr()
    assert "features of 5 of 6 videos: features/videonl_extract.csv" in shown.out
    assert "broken.mp4" in shown.err
    with open("features/videonl_extract.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["features"]) != bool(row["why not"]) for row in rows] == [True] * 6
    names = [row["features"] for row in rows if row["features"]]
    assert all(Path("features", name).is_file() for name in names)
    (place / "data" / "c0" / "broken.mp4").unlink()
    parts(words, TWO)
    assert main(["merge", "features"]) == 0


def damaged(folder: Path) -> None:
    (folder / "videonl_check.00000.jsonl").write_text("{no\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "holds no results of several processes"),
        (damaged, "is not the journal of one of several processes"),
    ],
)
def test_a_folder_that_holds_none(
    make: Callable[[Path], None], words: str, tmp_path: Path, capsys: Shown
) -> None:
    make(tmp_path)
    assert main(["merge", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err
    assert main(["merge", str(tmp_path), "--csv", "x"]) == 2
    assert json.dumps("--csv")[1:-1] in capsys.readouterr().err
